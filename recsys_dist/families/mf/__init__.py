"""Matrix factorization by EM."""
