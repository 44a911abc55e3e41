"""Bundles for others to run: container images, compose files, Kubernetes manifests."""
