"""Tools: the installed converters, quantizers and runtimes, and what a lock pins of them."""
