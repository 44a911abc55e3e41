"""`ggml-mix/1`: which type every tensor of a file gets."""
