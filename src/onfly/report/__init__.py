"""The report of a run: what was done, what it showed, and whether to use the model."""
