"""The command line: one module a command; rendering and exit codes; no rules of its own."""
