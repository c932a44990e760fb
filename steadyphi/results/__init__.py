"""From the answers of an evaluation to its result, and the files that hold it."""
