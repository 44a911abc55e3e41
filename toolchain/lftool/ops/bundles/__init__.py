"""Reading bundles: verify, inspect, extract."""
