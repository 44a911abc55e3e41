"""Envelopes, statements and policies: what signatures state about a bundle, and whether you trust the signer.

Nothing in this package reads a file, opens a socket or imports a plugin. Verification takes data and returns data.
"""
