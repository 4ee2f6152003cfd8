"""Features: what the surroundings of a pixel say, from windows of plain arrays."""
