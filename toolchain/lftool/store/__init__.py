"""The content-addressed store and the action cache: durable, shared by processes, never the single source of truth.

Correctness never depends on a lock: every write goes to a unique temporary file, hashed while writing, then renamed.
"""
