"""Making a lock, and telling whether one is stale."""
