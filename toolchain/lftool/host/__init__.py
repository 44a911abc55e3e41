"""The plugin host: discovery, attribution, the registry, and child processes for plugin code."""
