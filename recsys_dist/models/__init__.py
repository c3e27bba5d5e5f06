"""The mathematics of the two model families, free of ranks and files."""
