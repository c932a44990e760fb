"""Running a trained Phi: scoring and generation."""
