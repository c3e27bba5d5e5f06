"""The best items by a product of vectors, without scoring the items that cannot be among them."""
