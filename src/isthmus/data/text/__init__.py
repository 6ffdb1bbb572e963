"""Text: lines of characters, words or SMILES tokens."""
