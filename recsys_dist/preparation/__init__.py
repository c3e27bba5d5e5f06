"""From raw files to a prepared dataset, on Dask."""
