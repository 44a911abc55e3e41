"""The bundle format, rules 1: write a layout plan, read back a checked view (docs/reference/bundle-format.md)."""
