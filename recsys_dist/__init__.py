"""Rating prediction and recommendation for data that no longer fits one machine."""

__version__ = "0.1.0"
