"""Evaluating a language model on the variants of a suite."""
