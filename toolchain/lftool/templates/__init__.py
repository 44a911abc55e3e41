"""Files that `lftool plugins new` writes, as text with `$name` and `$module`."""
