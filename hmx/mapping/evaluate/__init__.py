"""Judge mappers: every forecaster on the same held-out samples."""
