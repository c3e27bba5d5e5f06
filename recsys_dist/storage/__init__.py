"""Files and folders, on a local disk or behind a URL, and how Parquet is read from them."""
