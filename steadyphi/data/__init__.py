"""Training and evaluation data: its sources, and its conversion to packed tokens."""
