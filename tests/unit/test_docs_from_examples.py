"""Code on a page that says which example it is from stands in that example, as the tests run it."""

from __future__ import annotations

import re

import pytest

from .test_docs import PAGES, ROOT

FROM = re.compile(r"^<!-- from (\S+) -->\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    (f"{page.relative_to(ROOT)}: {match[1]}", match[1], match[2])
    for page in PAGES
    for match in FROM.finditer(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("name", "code"), [b[1:] for b in BLOCKS], ids=[b[0] for b in BLOCKS])
def test_what_a_page_quotes_is_what_runs(name: str, code: str) -> None:
    assert code in (ROOT / name).read_text(encoding="utf-8")


def test_every_framework_has_a_page_that_quotes_its_example() -> None:
    quoted = {(name.partition(":")[0].rpartition("/")[2], name) for name, _, _ in BLOCKS}
    assert {"fastapi.md", "flask.md", "django.md", "celery.md"} <= {page for page, _ in quoted}
