"""The settings: their types, how conf/ and params.yaml become settings, and the checks on them."""
