"""Long prompts: what a model still recalls, follows and answers when its context holds much other text."""
