"""The page that shows the training data: samples token by token, lengths, and what the audit found."""
