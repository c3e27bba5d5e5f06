"""The mathematics of EM, a block of rows at a time."""
