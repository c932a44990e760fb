"""What `steadyphi inspect` reports about a checkpoint."""
