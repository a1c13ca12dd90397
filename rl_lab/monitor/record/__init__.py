"""What stays on disk and in W&B: rows, events, incidents, and what a run was made with."""
