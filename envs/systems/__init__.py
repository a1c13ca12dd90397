"""One file per system; envs.registry finds them by looking here."""
