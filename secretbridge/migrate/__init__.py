"""The migration tool: finds secrets in environment variables and moves them into a store."""
