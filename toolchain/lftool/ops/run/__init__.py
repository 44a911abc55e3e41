"""Run bundles: choose a backend, check integrity first, and ask the model questions."""
