"""MLflow: a row for each experiment, and under it a run for each stage. Only stages import it."""
