"""The stages, one per module: each a function from an input record and ports to an output record."""
