"""Ratings: sparse rows of users and items."""
