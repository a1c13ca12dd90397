"""What an update did: before and after, along the way, in numbers. Knows nothing of events, files or guards."""
