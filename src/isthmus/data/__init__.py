"""Data: bytes to batches."""
