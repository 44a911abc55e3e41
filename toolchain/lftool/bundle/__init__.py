"""The bundle format, rules 1: a layout plan to bytes, and bytes to a checked view (docs/reference/bundle-format.md)."""
