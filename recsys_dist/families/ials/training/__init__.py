"""Training of iALS: alternating solves, and the search for its settings."""
