"""Run a recipe's checks on bundles."""
