"""Commands for those who work on isthmus."""
