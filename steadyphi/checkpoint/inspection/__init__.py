"""What a checkpoint is, said without running it: the facts, and the page that shows them."""
