"""The fetch engine: brings bytes from any source into the store, parallel, resumable, retried, and checked by hash."""
