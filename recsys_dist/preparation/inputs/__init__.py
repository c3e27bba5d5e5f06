"""Input files: found, told apart, unpacked."""
