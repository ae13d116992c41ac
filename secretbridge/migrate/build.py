"""Makes a plan out of a scan: has every form rewritten until nothing in it contradicts itself.

What one rewriter cannot close is left alone by all of them, and so is what is composed of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from ..errors import ConfigError
from ..reference import Reference
from ._masking import masked_diff
from ._tree import Tree
from .edits import Change, Edit, digest, edited
from .finding import HIGH, LITERAL, SEVERITIES, Finding, Scan
from .moves import Moves
from .plan import Decisions, Open, Plan, PlannedFile, PlannedSecret, Settings
from .rewrite import compose, config, dockerfile, dotenv, kubernetes, python
from .values import Values, is_rewritten
from .yaml_tree import NotEditable

__all__ = ["build", "reference_for"]

Rewriter = Callable[[str, bytes, list[Finding], Moves], list[Edit]]

REWRITERS: dict[str, Rewriter] = {
    "dotenv": dotenv.rewrite,
    "dockerfile": dockerfile.rewrite,
    "kubernetes": kubernetes.rewrite,
    "python": python.rewrite,
    "settings": python.rewrite,
}


def build(scan: Scan, tree: Tree, settings: Settings, decisions: Decisions) -> Plan:
    """Return the plan. Raises :class:`ConfigError` for decisions that cannot be kept."""
    return _Builder(scan, tree, settings, decisions).plan()


def reference_for(settings: Settings, name: str) -> str:
    """Return the reference of the secret ``name`` in the store of ``settings``."""
    locator = f"{settings.prefix}/{name}" if settings.prefix else name
    store = "" if settings.store == settings.backend else f"//{settings.store}/"
    selector = "#value" if settings.backend == "vault" else ""
    return str(Reference.parse(f"{settings.backend}:{store}{locator}{selector}"))


class _Builder:
    def __init__(self, scan: Scan, tree: Tree, settings: Settings, decisions: Decisions) -> None:
        self.tree = tree
        self.settings = settings
        self.known = Values(scan, tree, settings, decisions)

    def plan(self) -> Plan:
        known = self.known
        left: frozenset[str] = frozenset(
            group.name for key, group in known.groups.items() if not known.moves(key, group)
        )
        stays: dict[tuple[str, int, str], Open] = {}
        templates: frozenset[str] = frozenset()
        while True:
            moves = Moves(
                self.settings,
                known.findings,
                known.by_place,
                known.by_variable,
                left,
                known.contents,
                templates,
                self.tree.read,
            )
            for finding, delivery in known.differing:
                if moves.is_moved(delivery):
                    moves.block(
                        finding,
                        delivery,
                        "projects that include or extend this file fill it in with different values",
                        "give the variable another name in each, and name it where it is used",
                    )
            changes = self._rewrite(moves)
            for place, (about, _) in moves.blocked.items():
                stays.setdefault(place, about)
            more = {name for _, name in moves.blocked.values() if name}
            more |= {s for d in known.by_place.values() if d.name in more for s in d.secrets}
            before, templates = templates, moves.needs.templates
            if more <= left and templates == before:
                break
            left |= more
        secrets = self._secrets(left)
        changes += self._own_files(secrets, moves)
        return Plan(
            root=self.tree.root,
            settings=self.settings,
            secrets=secrets,
            files=tuple(self._described(change) for change in changes),
            questions=tuple(known.questions),
            open=tuple(stays.values()),
            notes=tuple(dict.fromkeys([*known.notes, *moves.notes])),
            changes=tuple(changes),
            values={
                group.name: group.value.reveal().encode("utf-8", "surrogatepass")
                for group in known.groups.values()
            },
        )

    # Files --------------------------------------------------------------------------------------

    def _rewrite(self, moves: Moves) -> list[Change]:
        by_form: dict[str, dict[str, list[Finding]]] = defaultdict(lambda: defaultdict(list))
        for finding in self.known.findings:
            form = "python" if finding.form == "settings" else finding.form
            if not is_rewritten(finding):
                form = "other" if finding.form in REWRITERS else finding.form
            by_form[form][finding.path].append(finding)
        edits: dict[str, list[Edit]] = defaultdict(list)
        # Compose first: it says what takes the place of the variables that services have from files.
        edits |= compose.rewrite(self.known.compose, by_form.pop("compose", {}), moves)
        for form, rewriter in REWRITERS.items():
            for path, found in by_form.pop(form, {}).items():
                edits[path] += rewriter(path, self.known.contents[path], found, moves)
        for files in by_form.values():
            for found in files.values():
                self._elsewhere(found, moves)
        return [
            Change(path, self.known.contents[path], edited(self.known.contents[path], each))
            for path, each in sorted(edits.items())
            if each
        ]

    def _elsewhere(self, findings: list[Finding], moves: Moves) -> None:
        """Report what stands in a form that is not rewritten; its value may be one that moves."""
        for finding in findings:
            delivery = moves.of_variable(finding.path, finding.name)
            if finding.kind == LITERAL:
                if finding.severity == HIGH:
                    moves.report(
                        finding,
                        f"{finding.form} is not rewritten, and a value stands here",
                        "have it read a file of the sidecar, or render it as a whole",
                    )
                continue
            if delivery is None:
                continue
            if finding.form in ("github-actions", "gitlab-ci"):
                moves.report(
                    finding,
                    "the pipeline has the value from its own store, and gives it to an environment",
                    "have the pipeline log in to the store (OIDC), or drop it where nobody reads it",
                )
                continue
            moves.block(
                finding,
                delivery,
                f"{finding.form} is not rewritten",
                f"have it read the file {self.settings.target}/{delivery.name}",
            )

    def _own_files(self, secrets: Iterable[PlannedSecret], moves: Moves) -> list[Change]:
        needs = moves.needs
        paths = [self.settings.config, config.APP_CONFIG, config.MANIFEST, *needs.files]
        paths += [config.template_path(name) for name in needs.delivered]
        former = {path: self.tree.read(path) for path in paths}
        refused = ""
        try:
            return config.changes(self.settings, secrets, needs, former)
        except NotEditable as error:
            refused = str(error)
        raise ConfigError(
            f"{self.settings.config} cannot be extended: {refused}",
            hint="write it in the form of docs/reference/configuration.md, or move it away",
        )

    def _secrets(self, blocked: frozenset[str]) -> tuple[PlannedSecret, ...]:
        made = []
        for group in self.known.groups.values():
            first = group.findings[0]
            severity = min((f.severity for f in group.findings), key=SEVERITIES.index)
            made.append(
                PlannedSecret(
                    name=group.name,
                    reference=group.reference or reference_for(self.settings, group.name),
                    is_stored=not group.reference,
                    fingerprint=group.fingerprint,
                    origins=tuple(group.origins),
                    confidence=max(f.confidence for f in group.findings),
                    severity=severity,
                    move=self.known.moves(group.fingerprint, group),
                    is_blocked=group.name in blocked,
                    why=tuple(reason.text for reason in first.reasons),
                )
            )
        return tuple(made)

    def _described(self, change: Change) -> PlannedFile:
        relevant = [f for f in self.known.findings if f.value is not None]
        return PlannedFile(
            change.path,
            change.kind,
            digest(change.before) if change.before is not None else "",
            masked_diff(change, relevant),
        )
