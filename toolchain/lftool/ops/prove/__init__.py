"""`lftool prove`: whether a GGUF, by anyone, derives from a base model."""
