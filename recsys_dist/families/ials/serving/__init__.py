"""Export of iALS, its scorer and fold-in."""
