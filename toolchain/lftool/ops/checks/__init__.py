"""The checks of a recipe, made on bundles."""
