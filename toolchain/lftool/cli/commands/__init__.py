"""One module a command; `lftool.cli.main` imports the one that is asked for."""
