"""Figures of papers, each beside the one obtained here, one command each."""
