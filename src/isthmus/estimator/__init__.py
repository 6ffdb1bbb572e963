"""The estimator: `Autoencoder`, its methods, and the folder it is saved to."""
