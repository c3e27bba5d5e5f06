"""Choosing items: candidates and exclusions of lists, and items by their titles."""
