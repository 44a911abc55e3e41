"""How blocks of each type are made: ggml-quants.c, operation by operation."""
