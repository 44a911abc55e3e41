"""The six stages, the plan that orders them, and the one module that decides what goes into a cache key."""
