"""The prepared dataset, for everyone after its preparation."""
