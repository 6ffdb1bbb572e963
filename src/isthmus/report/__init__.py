"""Pages about trained autoencoders: figures, pictures and tables as one HTML file."""
