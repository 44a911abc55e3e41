"""`lftool rebuild`: make a bundle again from its own lock, and compare."""
