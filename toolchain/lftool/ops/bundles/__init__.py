"""Read bundles: verify, inspect, extract."""
