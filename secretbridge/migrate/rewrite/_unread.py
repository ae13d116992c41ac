"""Variables that services have from a dotenv file, and that nothing here is seen to read.

Somebody may read them all the same: a program that is built elsewhere, a library that looks for names of
its own. So they are not taken away.
"""

from __future__ import annotations

from typing import NamedTuple

from ..finding import Finding
from ..moves import Delivery, Moves
from ._compose_model import Service
from ._compose_needs import ComposeNeeds

__all__ = ["Unread"]


class _Variable(NamedTuple):
    finding: Finding
    delivery: Delivery
    services: list[Service]


class Unread:
    """Collects them over all services: a file may be for several, of which one reads a variable."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], _Variable] = {}
        self._read: set[tuple[str, str]] = set()

    def is_read(self, dotenv: str, finding: Finding) -> None:
        """Take note that a service reads the variable, or will read its file."""
        self._read.add((dotenv, finding.name))

    def add(self, dotenv: str, finding: Finding, delivery: Delivery, service: Service) -> None:
        """Take note that ``service`` has the variable, and is not seen to read it."""
        variable = _Variable(finding, delivery, [])
        self._found.setdefault((dotenv, finding.name), variable).services.append(service)

    def settle(self, moves: Moves, needs: ComposeNeeds) -> None:
        """Decide about those that nobody reads, when all services have been looked at."""
        for key, (finding, delivery, services) in self._found.items():
            if key in self._read:
                continue
            name = finding.name
            if moves.settings.unknown == "file":
                moves.dotenv[key] = f"{name}_FILE={moves.place(delivery)}"
                for service in services:
                    needs.serve(service, delivery, None, finding, library=False)
            else:
                moves.block(
                    finding,
                    delivery,
                    f"nothing here tells how {services[0].name} reads {name}",
                    f"if it takes {name}_FILE, plan with --unknown file; remove it if nobody does",
                )
