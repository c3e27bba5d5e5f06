"""Pages, formulas, tables and pictures of the documentation that are made from code and data."""
