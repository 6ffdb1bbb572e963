"""Detectors of anomalies beside others, on the same rows and splits."""
