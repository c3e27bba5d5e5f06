"""Checks of this machine and its installation, one line each: `recsys-dist doctor`."""
