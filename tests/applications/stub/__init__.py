"""An application that does as little as one can: the number of clusters of latent codes; see docs/extending.md."""
