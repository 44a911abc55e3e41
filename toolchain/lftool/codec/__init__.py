"""Convert values to bytes and back: strict and canonical, with errors that name the path."""
