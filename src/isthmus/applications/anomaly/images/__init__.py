"""Anomaly detection in images: heat maps and tiles."""
