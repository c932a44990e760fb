"""Downloads from the Hugging Face Hub: listed, verified, resumable."""
