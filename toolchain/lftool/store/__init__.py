"""The content-addressed store and the action cache: durable, shared between processes, never a single point of truth.

Correctness never depends on a lock here: every write is a unique temporary file, hashed while written, and renamed.
"""
