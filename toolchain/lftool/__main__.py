"""`python -m lftool`."""

from lftool.cli.entry import main

main()
