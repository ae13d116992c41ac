"""The embedded encrypted store: one file, specified in ``docs/formats/embedded-store.md``.

``contents`` is what a store holds, ``format`` how that becomes authenticated bytes, ``keys`` where
the key comes from, ``disk`` how a file is replaced, and ``store`` puts them together.
"""
