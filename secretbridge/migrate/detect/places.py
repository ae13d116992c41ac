"""What a path says about the files below it: tests, examples."""

from __future__ import annotations

import re

__all__ = ["is_example", "is_test"]

_EXAMPLE = re.compile(
    r"(.*[._/-])?(examples?|samples?|template|tmpl|dist|defaults?|demo|docs?)([._/-].*)?",
    re.IGNORECASE,
)
_TEST = re.compile(
    r"(.*/)?(tests?|testing|__tests__|specs?|testdata|test_data|fixtures?|mocks?|e2e|conftest|cassettes)"
    r"(/.*|\.py)|(.*/)?(test_[^/]*|[^/]*_tests?|[^/]*\.(test|spec)|tests?|conftest)\.\w+",
    re.IGNORECASE,
)


def is_example(path: str) -> bool:
    """Whether a file is there to be copied, as ``.env.example`` is."""
    return _EXAMPLE.fullmatch(path) is not None


def is_test(path: str) -> bool:
    """Whether a file belongs to tests."""
    return _TEST.fullmatch(path) is not None
