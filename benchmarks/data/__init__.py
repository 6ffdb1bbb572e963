"""Figures on tables, series and other data that are no images."""
