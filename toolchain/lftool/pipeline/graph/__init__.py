"""The graph of a build: steps, how they are made and rewritten, and what runs them."""
