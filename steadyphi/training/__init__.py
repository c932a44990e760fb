"""The fine-tuning loop, its loss, adapters, optimizer and saved state."""
