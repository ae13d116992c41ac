"""Reads files of many forms and finds the places of secrets in them."""
