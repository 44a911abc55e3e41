"""The fetch engine: bytes of any source into the store; parallel, resumed, tried again, and believed only when hashed."""
