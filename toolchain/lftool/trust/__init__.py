"""Envelopes, statements, policies: who says what about a bundle, and whether anybody here trusts them.

Nothing in this package reads a file, opens a socket or imports a plugin; verification is data in, data out.
"""
