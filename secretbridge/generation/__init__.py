"""Generations: complete, immutable sets of materialized files, published by replacing one link.

:mod:`.layout` says what a target looks like, :mod:`.preflight` whether a directory may be one,
:mod:`.writer` publishes into it, :mod:`.reader` reads one generation out of it. Nothing is imported
here, because an application that only reads must not pay for the writer.
"""
