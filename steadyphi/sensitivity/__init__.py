"""How much answers depend on the prompt: variants, measures and their statistics."""
