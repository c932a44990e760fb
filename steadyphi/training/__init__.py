"""The fine-tuning loop and what it stands on."""
