"""Use cases as functions: each does one thing that a user asks for and returns data. Nothing here prints."""
