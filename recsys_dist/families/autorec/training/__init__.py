"""AutoRec over ranks."""
