"""`lftool diff`: what differs between two models, in what it means."""
