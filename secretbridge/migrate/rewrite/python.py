"""Python: what read a variable asks the broker; a settings field is filled from a secret.

    os.environ["DB_PASSWORD"]   ->   secretbridge.get("db_password").reveal()
    db_password: str            ->   db_password: str = from_secret("db_password")

Only the bytes of the expression change. A default goes, because the value is always there now; a cast
stays around the call. What sets, deletes or tests the variable is reported and left alone.
"""

from __future__ import annotations

from dataclasses import replace

from ..edits import Edit
from ..finding import LITERAL, Finding
from ..moves import Delivery, Moves

__all__ = ["rewrite"]


def rewrite(path: str, content: bytes, findings: list[Finding], moves: Moves) -> list[Edit]:
    """Return the edits of the Python file ``path``; what cannot be rewritten is blocked."""
    from ._python_sites import read

    deliveries: dict[str, Delivery] = {}
    places: dict[str, Finding] = {}
    for finding in findings:
        for name in (finding.name, *finding.names):
            delivery = moves.of(finding) or moves.of_variable(path, name)
            if delivery is not None:
                deliveries[name] = delivery
                places.setdefault(name, finding)
    if not deliveries:
        return []
    for name in moves.variables():
        delivery = moves.of_variable(path, name)
        if delivery is not None and name not in deliveries:
            deliveries[name] = delivery
            places[name] = replace(findings[0], name=name)
    python = read(content, deliveries.keys())
    if python is None:
        for name, finding in places.items():
            moves.block(
                finding, deliveries[name], "it is no Python that can be read", "edit it by hand"
            )
        return []
    made: list[Edit] = []
    module = python.alias or "secretbridge"
    needs_module = needs_field = False
    seen: set[str] = set()
    for site in python.sites:
        seen.add(site.name)
        delivery = deliveries[site.name]
        if site.problem:
            moves.block(places[site.name], delivery, site.problem, "decide here what shall happen")
            continue
        call = f"{module}.get({site.quote}{delivery.name}{site.quote}).reveal()"
        made.append(
            Edit(site.start, site.end, (f"{site.cast}({call})" if site.cast else call).encode())
        )
        needs_module = True
        moves.use(delivery, library=True)
        if site.once:
            line = content.count(b"\n", 0, site.start) + 1
            moves.note(
                f"{path}:{line}: the default of an argument is computed once, so a rotation of "
                f"{delivery.name} is not seen there; ask for it inside of the function"
            )
    for field in python.fields:
        seen.add(field.name)
        delivery = deliveries[field.name]
        if field.problem:
            moves.block(places[field.name], delivery, field.problem, "use from_secret by hand")
            continue
        call = f'from_secret("{delivery.name}")'
        if field.value is None:
            made.append(Edit(field.end, field.end, f" = {call}".encode()))
        else:
            made.append(Edit(*field.value, call.encode()))
        needs_field = True
        moves.use(delivery, library=True)
    _report_unseen(findings, deliveries, seen, moves)
    imports = []
    if needs_module and python.alias is None:
        imports.append("import secretbridge")
    if needs_field and not python.has_from_secret:
        imports.append("from secretbridge.settings import from_secret")
    if imports:
        text = "".join(line + python.newline for line in imports)
        if python.import_at and content[python.import_at - 1 : python.import_at] not in (
            b"\n",
            b"\xbf",
        ):
            text = python.newline + text
        made.append(Edit(python.import_at, python.import_at, text.encode()))
    return made


def _report_unseen(
    findings: list[Finding], deliveries: dict[str, Delivery], seen: set[str], moves: Moves
) -> None:
    """Block what the scan found and the syntax tree does not show, such as a wrapper's argument."""
    for finding in findings:
        names = {finding.name, *finding.names} & deliveries.keys()
        if names and not names & seen:
            name = sorted(names)[0]
            what = (
                "a value stands in the code"
                if finding.kind == LITERAL
                else ("it is read by a function of the project")
            )
            moves.block(
                finding,
                deliveries[name],
                what,
                f'write secretbridge.get("{deliveries[name].name}").reveal() there',
            )
