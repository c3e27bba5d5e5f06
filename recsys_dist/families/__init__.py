"""Kinds of models. Nothing outside imports them; they are found by name."""
