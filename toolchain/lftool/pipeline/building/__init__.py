"""Building what a lock names."""
