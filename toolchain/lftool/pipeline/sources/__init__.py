"""Sources: opened, asked what a reference means, and files of theirs fetched."""
