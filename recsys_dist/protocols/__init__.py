"""Interfaces between model families and the rest of the program."""
