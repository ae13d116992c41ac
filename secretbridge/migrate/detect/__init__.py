"""Decides which places hold or pass on a secret, and says why."""
