"""What a Dask worker is sent, and the journal of what is done."""
