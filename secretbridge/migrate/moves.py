"""What moves: for every place of a scan, the file or name under which its value is had afterwards.

The rewriters of all forms ask here, and say here what they cannot rewrite. What one of them blocks is
left alone everywhere, so the builder runs them until nobody blocks anything new.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from .finding import LITERAL, READER, Finding
from .plan import Open, Settings

__all__ = ["Delivery", "Moves", "Needs"]

_REFERENCE = re.compile(
    r"\$(?:\$|\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)(?P<rest>:?[-?+][^}]*)?\}"
    r"|(?P<plain>[A-Za-z_][A-Za-z0-9_]*))"
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A value as it is had afterwards: the file ``name``, and the secret of that name for code.

    ``template`` is the text of the file where the value is composed of ``secrets``, else None.
    """

    name: str
    secrets: tuple[str, ...]
    template: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class Needs:
    """What the rewritten files need besides: files of the sidecar, and who reads them."""

    delivered: dict[str, Delivery] = field(default_factory=dict)
    readers: dict[str, set[int]] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)
    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    """New files that the rewritten ones mount: content and mode, by path below the root."""
    library: set[str] = field(default_factory=set)
    """Names that code asks for."""
    files_of: dict[str, str] = field(default_factory=dict)
    """The file that programs in containers get under a name, where it is not the file of that name."""
    has_sidecar: bool = False
    pods: bool = False

    @property
    def templates(self) -> frozenset[str]:
        """The names of files that are made from a template."""
        return frozenset(d.name for d in self.delivered.values() if d.template is not None)


class Moves:
    """The decisions of one round. ``by_place``: deliveries by finding; ``by_variable``: by name."""

    def __init__(
        self,
        settings: Settings,
        findings: Iterable[Finding],
        by_place: dict[str, Delivery],
        by_variable: dict[tuple[str, str], Delivery],
        left: frozenset[str],
        contents: Mapping[str, bytes] | None = None,
        templates: frozenset[str] = frozenset(),
        read: Callable[[str], bytes | None] = lambda path: None,
    ) -> None:
        self.settings = settings
        self.findings: tuple[Finding, ...] = tuple(findings)
        self.needs: Needs = Needs()
        self.notes: list[str] = []
        self.blocked: dict[tuple[str, int, str], tuple[Open, str]] = {}
        self.dotenv: dict[tuple[str, str], str] = {}
        """(path of a dotenv file, variable) -> the line that takes its place."""
        self._by_place = by_place
        self._by_variable = by_variable
        self._left = left
        self.contents: Mapping[str, bytes] = contents or {}
        self.read = read
        """Returns any other file of the project."""
        self.templates = templates
        """Names of the files with a template that the round before has come to."""

    def of(self, finding: Finding) -> Delivery | None:
        """Return how the value of ``finding`` is had afterwards, or None when it stays."""
        found = self._by_place.get(finding.identity)
        return found if self.is_moved(found) else None

    def of_variable(self, path: str, name: str) -> Delivery | None:
        """Return how code in ``path`` has the value of the variable ``name`` afterwards.

        Where files give it different values, the one in the nearest directory above ``path`` counts.
        """
        best: tuple[int, Delivery] | None = None
        for (folder, variable), delivery in self._by_variable.items():
            if variable == name:
                distance = _distance(path.rpartition("/")[0], folder)
                if best is None or distance < best[0]:
                    best = distance, delivery
        return best[1] if best is not None and self.is_moved(best[1]) else None

    def variables(self) -> set[str]:
        """Return the names of all variables that have a value."""
        return {name for _, name in self._by_variable}

    def place(self, delivery: Delivery) -> str:
        """Return the path of the file of ``delivery``, and have the sidecar write it."""
        self.use(delivery)
        return f"{self.settings.target}/{delivery.name}"

    def use(self, delivery: Delivery, *, library: bool = False) -> None:
        """Say that ``delivery`` is needed, with ``library`` by code under its name."""
        self.needs.delivered[delivery.name] = delivery
        if library:
            self.needs.library.add(delivery.name)

    def is_moved(self, delivery: Delivery | None) -> bool:
        """Whether ``delivery`` is there, and neither it nor a secret in it is left alone."""
        return delivery is not None and self._left.isdisjoint((delivery.name, *delivery.secrets))

    def use_in_code(self, variable: str, delivery: Delivery) -> None:
        """Have code that reads ``variable`` in a container get ``delivery`` under its own name.

        Code has one name for a variable; a container may give it another value than a ``.env`` file
        does for work outside of one, such as a URL with another host.
        """
        self.use(delivery, library=True)
        for reader in self.readers(variable, ("python", "settings")):
            known = self.of_variable(reader.path, variable)
            if known is None or known.name == delivery.name:
                continue
            if self.needs.files_of.setdefault(known.name, delivery.name) != delivery.name:
                self.note(
                    f"{variable} has different values in different services; programs get that of "
                    f"{self.needs.files_of[known.name]} under the name {known.name}"
                )
            self.use(known, library=True)

    def block(self, finding: Finding, delivery: Delivery, reason: str, remedy: str) -> None:
        """Say that ``finding`` cannot be rewritten, so that ``delivery`` stays as it is everywhere."""
        about = Open(finding.path, finding.line, finding.name, reason, remedy)
        self.blocked[finding.path, finding.line, finding.name] = about, delivery.name

    def report(self, finding: Finding, reason: str, remedy: str) -> None:
        """Say that the value stays at ``finding``, which keeps nothing else from moving."""
        about = Open(finding.path, finding.line, finding.name, reason, remedy)
        self.blocked.setdefault((finding.path, finding.line, finding.name), (about, ""))

    def note(self, text: str) -> None:
        """Tell people something about the plan."""
        if text not in self.notes:
            self.notes.append(text)

    def readers(self, name: str, forms: Iterable[str] | None = None) -> list[Finding]:
        """Return the places that read the variable ``name``, of some ``forms`` or of all."""
        wanted = None if forms is None else set(forms)
        return [
            finding
            for finding in self.findings
            if finding.kind == READER
            and (finding.name == name or name in finding.names)
            and (wanted is None or finding.form in wanted)
        ]

    def literals(self, path: str) -> list[Finding]:
        """Return the places in ``path`` where a value stands."""
        return [f for f in self.findings if f.path == path and f.kind == LITERAL]


def variables_in(text: str) -> list[str]:
    """Return the names that compose would interpolate in ``text``, in order."""
    return [m["braced"] or m["plain"] for m in _REFERENCE.finditer(text) if m[0] != "$$"]


def interpolated(text: str) -> Iterable[tuple[str, str | None]]:
    """Yield ``text`` in pieces: (literal, None), or ("", name) for a variable that stands there."""
    at = 0
    for match in _REFERENCE.finditer(text):
        yield text[at : match.start()], None
        if match[0] == "$$":
            yield "$", None
        else:
            yield "", match["braced"] or match["plain"]
        at = match.end()
    yield text[at:], None


def _distance(inner: str, outer: str) -> int:
    """Return how far the directory ``outer`` is from ``inner``; those above come before others."""
    a, b = inner.split("/") if inner else [], outer.split("/") if outer else []
    common = 0
    while common < min(len(a), len(b)) and a[common] == b[common]:
        common += 1
    return (len(a) - common) + 100 * (len(b) - common)
