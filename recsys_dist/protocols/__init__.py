"""What the rest of the program knows of a model."""
