"""Anomaly detection: which rows are unlike the training rows, at which rate of false alarms, and why."""
