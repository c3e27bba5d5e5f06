"""Implicit and graded feedback by alternating least squares (iALS)."""
