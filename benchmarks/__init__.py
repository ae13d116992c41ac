"""Figures with bars, each measured against something else in the same run."""
