"""Arrays on scratch storage, and sorting."""
