"""Files: paths, locks, and writes that are whole or not there."""
