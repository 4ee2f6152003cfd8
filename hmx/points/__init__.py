"""Points: samples of a quantity, and where they lie in a cube."""
