"""Results of an evaluation: the analysis of its answers, and the files that store it."""
