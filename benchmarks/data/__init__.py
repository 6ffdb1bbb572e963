"""Figures of the readers: larger than memory, folders of images, missing values."""
