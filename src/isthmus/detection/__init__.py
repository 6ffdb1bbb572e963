"""What detectors of anomalies share: kinds of score, thresholds with a promise, reasons, drift."""
