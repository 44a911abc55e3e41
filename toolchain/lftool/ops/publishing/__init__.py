"""`lftool push` and `lftool pull`: bundles into registries, hubs and buckets, and back."""
