"""Features: channels from the surroundings of a pixel, from windows of plain arrays."""
