"""Prompts: questions, formats, the variants of a prompt, and where prompt and answer meet."""
