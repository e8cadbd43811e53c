"""What the server remembers: objects in DuckDB, file contents as blobs."""
