"""Telling programs that a generation was published: hooks of three kinds, and when they run."""

from __future__ import annotations

from .deliver import News
from .needs import Needs, needs, untrusted_programs
from .notifier import Notifier

__all__ = ["Needs", "News", "Notifier", "needs", "untrusted_programs"]
