"""MLflow tracking: one parent run per experiment, with one child run per stage. Only stages import it."""
