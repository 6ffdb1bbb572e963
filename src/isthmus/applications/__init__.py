"""Applications: one file for each domain, and the table of them."""
