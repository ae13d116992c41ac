"""The shop of the migration demo."""
