"""Long prompts: what a model still recalls, follows and answers when much else is in its context."""
