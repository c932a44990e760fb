"""How much memory a model takes, in training and in use, and how much is free."""
