"""Dask workers: local processes, Slurm jobs or a running cluster."""
