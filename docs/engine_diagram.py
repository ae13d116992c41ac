"""Writes the engine's state diagram into its page, from the table that the engine runs on.

python docs/engine_diagram.py            # exit 1 when the page is not up to date
python docs/engine_diagram.py --write    # bring it up to date
"""

from __future__ import annotations

import sys
from pathlib import Path

from secretbridge.engine import TRANSITIONS

PAGE = Path(__file__).parent / "explanation" / "engine.md"
BEGIN, END = "<!-- diagram: generated -->", "<!-- end of diagram -->"


def diagram() -> str:
    """Return the table as a Mermaid state diagram, one arrow per pair of states."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, happening), following in TRANSITIONS.items():
        arrows.setdefault((state, following), []).append(happening)
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> idle"]
    lines += [f"    {a} --> {b}: {', '.join(names)}" for (a, b), names in arrows.items()]
    return "\n".join([*lines, "```"])


def updated(page: str) -> str:
    """Return the text of the page with the diagram of today."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{diagram()}\n{END}{after}"


def main() -> int:
    """Compare, or write."""
    page = PAGE.read_text()
    fresh = updated(page)
    if "--write" in sys.argv[1:]:
        PAGE.write_text(fresh)
        return 0
    if page != fresh:
        print(f"{PAGE.name}: the diagram is not up to date; run {sys.argv[0]} --write")
    return int(page != fresh)


if __name__ == "__main__":
    sys.exit(main())
