"""Sources: open them, resolve references, and fetch their files."""
