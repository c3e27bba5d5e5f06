"""The Dask tasks of a preparation, and the journal of finished tasks."""
