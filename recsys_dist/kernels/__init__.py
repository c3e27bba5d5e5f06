"""Performance-critical kernels: sparse products and batched symmetric solves."""
