"""A trained AutoRec: export and new users."""
