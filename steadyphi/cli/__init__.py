"""The command `steadyphi`."""
