"""Dask workers: on this machine, in Slurm or on a running cluster."""
