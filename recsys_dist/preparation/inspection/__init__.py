"""Guesses the format and columns of an unknown input file."""
