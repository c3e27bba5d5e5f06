"""Model families. Nothing outside imports them; the registry finds them by name."""
