"""Series: measurements in time, cut into windows."""
