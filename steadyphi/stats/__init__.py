"""Measures and their statistics. They take and return NumPy arrays."""
