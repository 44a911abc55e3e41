"""Tools: converters, quantizers and runtimes as they are installed here, and what a lock pins of them."""
