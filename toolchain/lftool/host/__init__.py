"""The plugin host: discovery, attribution, the registry, and plugin code in processes of its own."""
