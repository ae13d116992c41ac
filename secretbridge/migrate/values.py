"""What a scan's values are: which are one secret, what each is called, how each place has it later.

Equal values are one secret, whatever their variables are called. Placeholders such as ``changeme`` are
equal by habit and not by meaning: they stay apart unless somebody says otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..errors import ConfigError
from ._tree import Tree
from .compose_files import compose_files
from .edits import digest
from .finding import CARRIER, LITERAL, LOW, Finding, Hidden, Scan
from .foreign import is_foreign, translate
from .moves import Delivery, Moves, interpolated, variables_in
from .naming import best, secret_name, unique
from .ours import is_ours
from .plan import Decisions, Origin, Question, Settings
from .readers import python_readers
from .rewrite.compose_project import ComposeProject

__all__ = ["Group", "Values", "is_rewritten"]

FORMS = ("compose", "dotenv", "dockerfile", "kubernetes", "python", "settings")
"""Forms that are rewritten; what others hold is reported."""
_EXAMPLE = re.compile(
    r"(^|[._/-])(examples?|samples?|template|tmpl|dist|defaults?)([._/-]|$)", re.I
)
_SETTING = ("dotenv", "compose", "kubernetes", "dockerfile")
"""Forms that give variables to a program."""
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,79}")


@dataclass(slots=True)
class Group:
    """One value: everything that is known of it over all places."""

    value: Hidden
    fingerprint: str
    whole: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    name: str = ""
    reference: str = ""
    """Where the value is already, for a reference of another tool that has a counterpart."""


def is_rewritten(finding: Finding) -> bool:
    """Whether the place is in a form that is rewritten; other programs' settings are not."""
    if finding.form in ("python", "settings"):
        return finding.path.endswith((".py", ".pyi"))
    return finding.form in FORMS


class Values:
    """The values of a scan, and what was decided about them.

    ``by_place`` is how each finding has its value afterwards, ``by_variable`` how code has it that
    reads a variable in a directory; ``differing`` are those that have several values. Raises
    :class:`ConfigError` for decisions that cannot be kept.
    """

    def __init__(self, scan: Scan, tree: Tree, settings: Settings, decisions: Decisions) -> None:
        self.tree = tree
        self.settings = settings
        self.decisions = decisions
        self.findings: list[Finding] = [
            f for f in scan.active() if not _is_set_by_a_test(f) and not is_ours(f, settings)
        ]
        self.contents: dict[str, bytes] = {}
        self.groups: dict[str, Group] = {}
        self.questions: list[Question] = []
        self.by_place: dict[str, Delivery] = {}
        self.by_variable: dict[tuple[str, str], Delivery] = {}
        self.notes: list[str] = []
        self.differing: list[tuple[Finding, Delivery]] = []
        self.compose: ComposeProject = ComposeProject((), tree.read)
        self._set: set[tuple[str, str]] = set()
        self._set_anywhere: set[str] = set()
        self._referred: dict[str, Group] = {}
        self._read()
        self._group()
        self._refer()
        self._name()
        self._deliver()
        self._find_readers()

    def _read(self) -> None:
        for path in sorted({finding.path for finding in self.findings}):
            content = self.tree.read(path)
            if content is not None:
                self.contents[path] = content
        self.findings = [f for f in self.findings if f.path in self.contents]
        with_secrets = {finding.path for finding in self.findings if finding.form == "compose"}
        paths = with_secrets | compose_files(self.tree.root)
        self.compose = ComposeProject(paths, self.tree.read)
        for path, model in self.compose.models.items():
            self.contents.setdefault(path, model.file.content)
        self._set = {
            (_folder(f), f.name)
            for f in self.findings
            if f.form == "dotenv" and f.kind == LITERAL and f.value and not f.names
        }
        self._set_anywhere = {
            f.name
            for f in self.findings
            if f.kind == LITERAL and f.value and not f.names and f.form in _SETTING
        }

    def _group(self) -> None:
        last = self._last_of_each()
        for finding in self.findings:
            if finding.kind != LITERAL or not finding.value or not is_rewritten(finding):
                continue
            if finding.identity not in last or self._is_dead(finding):
                continue  # something else holds what counts
            atoms = [(p.value, p.fingerprint, p.what) for p in finding.parts] or [
                (finding.value, finding.fingerprint or "", "")
            ]
            for value, fingerprint, what in atoms:
                key = self._key(finding, fingerprint)
                group = self.groups.setdefault(key, Group(value, key))
                group.findings.append(finding)
                (group.partial if what else group.whole).append(
                    f"{finding.name}_{what}" if what else finding.name
                )
                group.origins.append(
                    Origin(finding.path, finding.line, finding.name, finding.form, what)
                )

    def _refer(self) -> None:
        """Take over references of other tools: their values are in a store already."""
        for finding in self.findings:
            text = finding.value.reveal() if finding.value is not None else ""
            if finding.kind != CARRIER or not is_rewritten(finding) or not is_foreign(text):
                continue
            try:
                reference, note = translate(text)
            except ConfigError as error:
                self.notes.append(f"{finding.path}:{finding.line}: {finding.name}: {error.message}")
                continue
            if note:
                self.notes.append(f"{finding.path}:{finding.line}: {finding.name}: {note}")
            key = f"reference-{digest(reference.encode())[:16]}"
            assert finding.value is not None
            group = self.groups.setdefault(key, Group(finding.value, key, reference=reference))
            group.findings.append(finding)
            group.whole.append(finding.name)
            group.origins.append(Origin(finding.path, finding.line, finding.name, finding.form))
            self._referred[finding.identity] = group

    def _is_dead(self, finding: Finding) -> bool:
        """Whether the value is a default of a variable that is set."""
        if finding.form in ("python", "settings"):
            return any(name in self._set_anywhere for name in finding.names)
        return any(self._filled_in(finding, name) is not None for name in finding.names)

    def _key(self, finding: Finding, fingerprint: str) -> str:
        """Return what makes values one secret: the value itself, and for placeholders also a name."""
        if not finding.is_placeholder:
            return fingerprint
        question = f"placeholder-{fingerprint}"
        answer = self.decisions.answers.get(question, "apart")
        same = {f.name for f in self.findings if f.fingerprint == fingerprint}
        if len(same) > 1 and all(each.id != question for each in self.questions):
            self.questions.append(
                Question(
                    question,
                    f"{', '.join(sorted(same))} have the same placeholder as their value. Are they "
                    "one secret?",
                    ("apart", "one"),
                    answer,
                    tuple(sorted(same)),
                )
            )
        return fingerprint if answer == "one" else f"{fingerprint}:{secret_name(finding.name)}"

    def _last_of_each(self) -> set[str]:
        """Return the identities of the findings that count where a file sets a variable again."""
        last: dict[tuple[str, str], Finding] = {}
        kept: set[str] = set()
        for finding in self.findings:
            if finding.form != "dotenv" or finding.context.get("comment"):
                kept.add(finding.identity)
                continue
            found = last.get((finding.path, finding.name))
            if found is None or finding.start > found.start:
                last[finding.path, finding.name] = finding
        return kept | {finding.identity for finding in last.values()}

    def _name(self) -> None:
        taken: set[str] = set()
        for key, group in self.groups.items():
            decided = self.decisions.names.get(key)
            if decided is None:
                continue
            if not _NAME.fullmatch(decided) or decided in taken:
                raise ConfigError(
                    f"the plan's name {decided!r} is taken or cannot be one",
                    hint="names are lower-case words with _, -, . and digits, each used once",
                )
            group.name = decided
            taken.add(decided)
        for group in self.groups.values():
            if group.name:
                continue
            wanted = secret_name(best(group.whole or group.partial))
            places = [origin.path.rpartition("/")[0] for origin in group.origins]
            group.name = unique(wanted, taken, places)
            taken.add(group.name)

    def moves(self, key: str, group: Group) -> bool:
        """Whether ``group`` shall go into the store: as was decided, else if it is no doubtful one."""
        decided = self.decisions.moves.get(key)
        if decided is not None:
            return decided
        # What is commented out is of no use where it stands, and as readable as anything else; and a
        # placeholder that a program really gets is its password.
        return bool(group.reference) or any(
            f.severity != LOW
            or f.context.get("comment")
            or (f.is_placeholder and f.form in _SETTING and not _EXAMPLE.search(f.path))
            for f in group.findings
        )

    # Deliveries ---------------------------------------------------------------------------------

    def _deliver(self) -> None:
        last = self._last_of_each()
        later: list[Finding] = []
        for finding in self.findings:
            referred = self._referred.get(finding.identity)
            if referred is not None:
                self._found(finding, Delivery(referred.name, (referred.name,)))
        for finding in self.findings:
            if finding.kind != LITERAL or not finding.value or not is_rewritten(finding):
                continue
            if finding.identity not in last or finding.names:
                later.append(finding)
            elif finding.parts:
                self._found(finding, self._composed(finding))
            else:
                group = self.groups[self._key(finding, finding.fingerprint or "")]
                self._found(finding, Delivery(group.name, (group.name,)))
        for finding in later:
            names = finding.names or (finding.name,)
            known = [self._known(finding, name) for name in names]
            if finding.names and finding.identity in last and not all(known):
                self._default(finding)
            elif known[0] is not None and len(known) == 1 and not finding.parts:
                self._found(finding, known[0])
        self._carried()
        self._differ()

    def _known(self, finding: Finding, name: str) -> Delivery | None:
        if finding.form in ("python", "settings"):
            return self._variable(finding, name)
        folder = self._filled_in(finding, name)
        return self.by_variable.get((_folder(finding) if folder is None else folder, name))

    def _filled_in(self, finding: Finding, name: str) -> str | None:
        """Return the directory of the dotenv file that ``name`` has its value from here, or None."""
        folders = (path.rpartition("/")[0] for way in self._ways(finding) for path in way)
        return next((folder for folder in folders if (folder, name) in self._set), None)

    def _ways(self, finding: Finding) -> list[list[str]]:
        """Return the dotenv files that fill in variables in the file of ``finding``, surest first.

        A compose file that others include or extend from may be filled in by different ones.
        """
        if finding.form == "compose":
            return self.compose.environments(finding.path)
        folder = _folder(finding)
        return [[f"{folder}/.env" if folder else ".env"]]

    def _differ(self) -> None:
        """Find the places whose variables have another value in each project that has the file."""
        for finding in self.findings:
            ways = self._ways(finding) if finding.form == "compose" and finding.names else []
            if len(ways) < 2:
                continue
            told = [[self._told(way, name) for way in ways] for name in finding.names]
            if any(len({each for each in values if each is not None}) > 1 for values in told):
                known = {each for values in told for each in values if isinstance(each, Delivery)}
                self.differing += [(finding, each) for each in sorted(known, key=lambda d: d.name)]

    def _told(self, way: list[str], name: str) -> Delivery | str | None:
        for path in way:
            folder = path.rpartition("/")[0]
            if (folder, name) in self._set:
                return self.by_variable.get((folder, name))
            plain = self._plain_in(path, name)
            if plain is not None:
                return plain
        return None

    def _default(self, finding: Finding) -> None:
        """Take the default of a variable that nothing sets for its value."""
        if finding.parts:
            self._found(finding, self._composed(finding))
            return
        group = self.groups.get(self._key(finding, finding.fingerprint or ""))
        if group is not None:
            self._found(finding, Delivery(group.name, (group.name,)))

    def _found(self, finding: Finding, delivery: Delivery) -> None:
        self.by_place[finding.identity] = delivery
        if finding.context.get("comment"):
            return
        before = self.by_variable.setdefault((_folder(finding), finding.name), delivery)
        if before != delivery and before.name != delivery.name:
            self.notes.append(
                f"{finding.path}:{finding.line}: {finding.name} has another value than elsewhere in "
                f"this directory; code that reads it gets {before.name}"
            )

    def _composed(self, finding: Finding) -> Delivery:
        assert finding.value is not None
        text = finding.value.reveal()
        pieces: list[str] = []
        names: list[str] = []
        at = 0
        for part in sorted(finding.parts, key=lambda each: each.start):
            name = self.groups[self._key(finding, part.fingerprint)].name
            names.append(name)
            pieces.append(_literally(text[at : part.start]))
            pieces.append(_slot(name, part.encoding == "percent"))
            at = part.end
        pieces.append(_literally(text[at:]))
        return self._template(finding.name, names, "".join(pieces))

    def _template(self, variable: str, names: list[str], text: str) -> Delivery:
        """Return the delivery of a composed value; equal ones of one variable are one file."""
        for known in self.by_place.values():
            if known.template == text and known.name.startswith(secret_name(variable)):
                return known
        taken = {group.name for group in self.groups.values()}
        taken |= {known.name for known in self.by_place.values()}
        name = unique(secret_name(variable), taken)
        return Delivery(name, tuple(dict.fromkeys(names)), text)

    def _carried(self) -> None:
        """Follow variables that are passed on, over several steps."""
        carriers = [
            f for f in self.findings if f.kind == CARRIER or (f.names and f.kind == LITERAL)
        ]
        for _ in range(4):
            for finding in carriers:
                if finding.identity not in self.by_place:
                    delivery = self._carrier(finding)
                    if delivery is not None:
                        self.by_place[finding.identity] = delivery
                        self.by_variable.setdefault((_folder(finding), finding.name), delivery)

    def _object(self, finding: Finding) -> Delivery | None:
        """Return what the key of a Secret or ConfigMap holds that ``finding`` refers to."""
        wanted = (finding.context.get("object_name"), finding.context.get("key"))
        for other in self.findings:
            place = (other.context.get("object"), other.name)
            if other.kind == LITERAL and place == wanted and "field" in other.context:
                return self.by_place.get(other.identity)
        return None

    def _carrier(self, finding: Finding) -> Delivery | None:
        if finding.context.get("object_name"):
            return self._object(finding)
        found = {
            name: delivery
            for name in finding.names
            if (delivery := self._variable(finding, name)) is not None
        }
        if not found:
            return None
        text = self._raw(finding)
        only = variables_in(text)
        if not only or re.fullmatch(r"\s*\$(\w+|\{[^}]*\})\s*", text):
            return found[next(iter(found))]
        return self._interpolation(finding, text, found)

    def _interpolation(
        self, finding: Finding, text: str, found: dict[str, Delivery]
    ) -> Delivery | None:
        pieces: list[str] = []
        names: list[str] = []
        is_url = "://" in text
        for literal, name in interpolated(text):
            if name is None:
                pieces.append(_literally(literal))
            elif name in found:
                if found[name].template is not None:
                    return None
                names += found[name].secrets
                pieces.append(_slot(found[name].name, is_url))
            else:
                plain = self._plain(finding, name)
                if plain is None:
                    return None
                pieces.append(_literally(plain))
        return self._template(finding.name, names, "".join(pieces))

    def _variable(self, finding: Finding, name: str) -> Delivery | None:
        moves = Moves(self.settings, (), {}, self.by_variable, frozenset())
        folder = self._filled_in(finding, name) if finding.form == "compose" else None
        known = None if folder is None else self.by_variable.get((folder, name))
        return known or moves.of_variable(finding.path, name)

    def _plain(self, finding: Finding, name: str) -> str | None:
        """Return the value of a variable that is no secret, from a dotenv file, or None."""
        for path in (path for way in self._ways(finding) for path in way):
            plain = self._plain_in(path, name)
            if plain is not None:
                return plain
        default = re.search(rf"\$\{{{re.escape(name)}:?-([^}}]*)\}}", self._raw(finding))
        return default[1] if default else None

    def _plain_in(self, path: str, name: str) -> str | None:
        """Return the value of a variable in the dotenv file ``path``, or None."""
        content = self.compose.read(path)
        pattern = (
            rb"(?m)^[ \t]*(?:export[ \t]+)?" + re.escape(name.encode()) + rb"[ \t]*=([^\r\n#]*)"
        )
        found: list[bytes] = re.findall(pattern, content or b"")
        return found[-1].decode("utf-8", "replace").strip().strip("'\"") if found else None

    def _raw(self, finding: Finding) -> str:
        """Return what stands in the file in the place of ``finding``, without quotes."""
        raw = self.contents[finding.path][finding.start : finding.end].decode("utf-8", "replace")
        text = raw.strip()
        if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
            text = text[1:-1]
        return text

    def _find_readers(self) -> None:
        """Look for code that reads what the scan could not know to be a secret."""
        read = {f.name for f in self.findings if f.form in ("python", "settings")}
        names = {variable for _, variable in self.by_variable} - read
        if not names:
            return
        for finding, content in python_readers(self.tree.root, names):
            self.findings.append(finding)
            self.contents[finding.path] = content


def _is_set_by_a_test(finding: Finding) -> bool:
    """Whether code sets the variable, as tests do: its value is for them alone."""
    return finding.kind == LITERAL and finding.context.get("how") == "set"


def _folder(finding: Finding) -> str:
    return finding.path.rpartition("/")[0]


def _slot(name: str, is_encoded: bool) -> str:
    inner = name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else f'secrets["{name}"]'
    return f"{{{{ {inner}{'|urlencode' if is_encoded else ''} }}}}"


def _literally(text: str) -> str:
    """Return ``text`` as a template has to have it so that it comes out as it is."""
    if not text or not re.search(r"\{[{%#]", text):
        return text
    return f"{{% raw %}}{text}{{% endraw %}}"
