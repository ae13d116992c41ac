"""Rewrites files so that no secret stands in them: one module per form, all of them by edits."""
