"""The sidecar: a broker whose changes become files.

It resolves the configured references, renders them into files, publishes them as one complete
generation on a tmpfs, and keeps them fresh. An application beside it only opens files.
"""
