"""Images: folders, archives and lists of picture files."""
