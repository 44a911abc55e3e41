"""The five stages, the plan that orders them, and the one place that decides what enters a cache key."""
