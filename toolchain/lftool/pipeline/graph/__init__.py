"""The graph of a build: its steps, how it is built and rewritten, and the executor that runs it."""
