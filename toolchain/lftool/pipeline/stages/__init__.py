"""One stage a module: a function from an input record and ports to an output record."""
