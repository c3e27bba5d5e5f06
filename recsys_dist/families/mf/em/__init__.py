"""The mathematics of EM on blocks of rows."""
