"""Models that a command is given by name, opened to be read in pieces and never run."""
