"""Running bundles: on which backend, checked before, and asked questions."""
