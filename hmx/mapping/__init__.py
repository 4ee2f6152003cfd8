"""Maps: a mapper's windows, lazily or as a job."""
