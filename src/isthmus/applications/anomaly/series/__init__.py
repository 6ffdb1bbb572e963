"""Anomaly detection in series: scores of time steps and intervals."""
