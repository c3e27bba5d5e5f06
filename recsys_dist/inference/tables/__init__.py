"""Files of ids and of pairs: reading them in blocks, and writing predictions beside their columns."""
