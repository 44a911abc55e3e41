"""A recipe's model: the files that are its parts, and their headers."""
