"""What the monitor may do about an event: one file with one Guard each, found by looking into this folder."""
