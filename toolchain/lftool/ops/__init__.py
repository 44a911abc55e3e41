"""Use cases as functions: each does one thing a person asks for and returns data. Nothing here prints."""
