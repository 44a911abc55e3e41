"""`ggml-mix/1`: which type every tensor of a file gets."""

MIXTURE = "ggml-mix/1"
