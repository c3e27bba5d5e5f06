"""A trained factorization: export, new users, uncertainty."""
