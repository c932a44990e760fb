"""Checkpoints as files: the hub, layouts, conversion, manifest. No torch module is known here."""
