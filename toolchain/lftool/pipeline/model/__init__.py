"""A recipe's model: which files are its parts, and what their headers say."""
