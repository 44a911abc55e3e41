"""Build the outputs that a lock names."""
