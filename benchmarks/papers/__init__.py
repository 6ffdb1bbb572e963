"""Results of papers, each with the one obtained here, one command each."""
