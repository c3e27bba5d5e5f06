"""The prepared dataset: manifest, blocks, tables and loaders, read by everything after preparation."""
