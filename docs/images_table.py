"""Writes the page about images from the table that the migration tool works with.

python docs/images_table.py            # exit 1 when the page is not up to date
python docs/images_table.py --write    # bring it up to date
"""

from __future__ import annotations

import sys
from pathlib import Path

from secretbridge.migrate.images import Image, rows

PAGE = Path(__file__).parent / "reference" / "images.md"
BEGIN, END = "<!-- table: generated -->", "<!-- end of table -->"

LEAKS = {
    "environ": "**comes back**",
    "first": "at the first start",
    "no": "no",
    "unknown": "not checked",
}
WAYS = {
    "pwfile": "`initdb --pwfile`",
    "shim": "a script that drops it",
    "grafana": "`$__file{}`",
    "redis-conf": "a rendered configuration",
}
BASES = {"read": "entrypoint", "docs": "documentation", "report": "report"}


def table() -> str:
    """Return the table, one row for each image or family."""
    lines = ["| image | variables | in a file by | back in the environment | instead | source |"]
    lines.append("|---|---|---|---|---|---|")
    lines += [_row(image) for image in rows()]
    return "\n".join(lines)


def _row(image: Image) -> str:
    names = "<br>".join(f"`{name}`" for name in image.names)
    variables = ", ".join(f"`{name}`" for name in image.variables) or "none"
    form = f"`{image.form.format('X')}`" if image.variables else "-"
    if image.value != "{}":
        form = f"the value `{image.value.format('PATH')}`"
    since = f" (since {image.since})" if image.since else ""
    note = f" {image.note}" if image.note else ""
    told = LEAKS[image.leak] if image.variables else "-"
    source = f"[{BASES[image.basis]}]({image.source})"
    return (
        f"| {names} | {variables} | {form}{since} | {told} | {WAYS.get(image.way, '-')} | "
        f"{source}.{note} |"
    )


def updated(page: str) -> str:
    """Return the text of the page with the table of today."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> int:
    """Compare, or write."""
    page = PAGE.read_text(encoding="utf-8")
    fresh = updated(page)
    if "--write" in sys.argv[1:]:
        PAGE.write_text(fresh, encoding="utf-8")
        return 0
    if page != fresh:
        print(f"{PAGE.name}: the table is not up to date; run {sys.argv[0]} --write")
    return int(page != fresh)


if __name__ == "__main__":
    sys.exit(main())
