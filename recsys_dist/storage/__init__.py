"""Files and folders, on a local disk or behind a URL, and readers of Parquet."""
