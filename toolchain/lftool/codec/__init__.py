"""Values to bytes and back: strict, canonical, with errors that name the path."""
