"""The study: plan, execute, store."""
