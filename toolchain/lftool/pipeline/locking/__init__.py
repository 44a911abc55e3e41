"""Make a lock, and detect a stale one."""
