"""Any YAML file: cuts it into documents, and gives each to the reader of its kind."""

from __future__ import annotations

import re

from ..detect.names import by_name
from .compose import is_compose, looks_like_compose, read_compose
from .interpolation import expand
from .kubernetes import is_manifest, read_manifest
from .slot import ENVIRONMENT, SECRET, TREE, Reading, Slot
from .trees import read_kustomization, read_pipeline, read_tree
from .yaml_nodes import Broken, Document, Mapping, Node, documents, parse, without_templates

__all__ = ["is_yaml", "read_yaml"]

_WORDS = re.compile(
    r"pass|pwd|pw\b|secret|token|key|cred|dsn|salt|auth|private|env_?file|envfrom|://[^/\s]*@|"
    r"cookie|claim|project_directory|"
    r"psk|jwt|mnemonic|seed|begin |license|code|\bpin|databaseurl|database_url|envs:|conn|hash",
    re.IGNORECASE,
)
"""A document without any of them has nothing to report."""

_KUSTOMIZATION = re.compile(r"kustomization\.ya?ml|kustomization", re.IGNORECASE)
_PIPELINES = re.compile(
    r"(.*/)?(\.travis|azure-pipelines[\w.-]*|bitbucket-pipelines|buildspec[\w.-]*|"
    r"cloudbuild[\w.-]*|"
    r"\.drone|appveyor|\.woodpecker[\w.-]*|Taskfile|\.buildkite/.*|\.circleci/.*|"
    r"\.woodpecker/.*)\.ya?ml",
    re.IGNORECASE,
)
_LOCALES = re.compile(
    r"(.*/)?(locales?|i18n|lang(uages?)?|translations?)/.*|(.*/)?(messages|strings)[._-]?\w*\.ya?ml"
)
_CHARTS = re.compile(
    r"(.*/)?values([._-][\w.-]*)?\.ya?ml(\.gotmpl|\.tpl)?|(.*/)?charts?/.*|.*helmfile.*",
    re.IGNORECASE,
)


def is_yaml(name: str) -> bool:
    """Whether a file of this name is YAML."""
    return name.lower().endswith((".yaml", ".yml", ".yaml.j2", ".yml.j2", ".yml.tpl", ".yaml.tpl",
                                  ".yaml.gotmpl", ".yml.example", ".yaml.example", ".yml.sample",
                                  ".yaml.sample", ".yml.dist", ".yaml.dist", ".yml.template",
                                  ".yaml.template"))  # fmt: skip


def read_yaml(reading: Reading, text: str) -> None:
    """Add the slots of all documents of a YAML or JSON file."""
    path = reading.path
    if _LOCALES.fullmatch(path):
        return
    for document in documents(text):
        if not _WORDS.search(document.text):
            continue
        masked = without_templates(document)
        try:
            root = parse(masked)
        except Broken as broken:
            line = text.count("\n", 0, broken.at) + 1
            is_template = masked is not document
            reading.problem(
                line,
                f"half a template: {broken}; its lines were searched instead"
                if is_template
                else f"not valid YAML: {broken}; its lines were searched instead",
                "render the template and scan the result"
                if is_template
                else "check indentation, colons and quotes there and in the line above",
            )
            _search_lines(reading, text, document)
            continue
        if isinstance(root, Mapping) or root is not None:
            before = len(reading.slots)
            _read(reading, text, root, document)
            if masked is not document:
                _mark_templates(reading, before, path)


def _mark_templates(reading: Reading, before: int, path: str) -> None:
    is_chart = "/templates/" in f"/{path}"
    for slot in reading.slots[before:]:
        if is_chart and slot.form == "kubernetes":
            slot.form = "helm"
        if slot.value is not None and ("{{" in slot.value or "{%" in slot.value):
            slot.context["template"] = True


def _read(reading: Reading, text: str, root: Node, document: Document) -> None:
    path, index = reading.path, document.index
    name = path.rsplit("/", 1)[-1]
    if isinstance(root, Mapping) and (
        root.get("openapi") or root.get("swagger") or root.get("sops")
    ):
        return
    if "/.github/" in f"/{path}" or name in ("action.yml", "action.yaml"):
        read_pipeline(reading, text, root, "github-actions", index)
    elif ".gitlab-ci" in name or ".gitlab/" in path or "gitlab-ci" in name:
        read_pipeline(reading, text, root, "gitlab-ci", index)
    elif isinstance(root, Mapping) and (
        _KUSTOMIZATION.fullmatch(name) or root.text("kind") in ("Kustomization", "Component")
    ):
        read_kustomization(reading, text, root, index)
    elif isinstance(root, Mapping) and looks_like_compose(root, name):
        read_compose(reading, text, root, index)
    elif isinstance(root, Mapping) and is_manifest(root):
        read_manifest(reading, text, root, index)
    elif _PIPELINES.fullmatch(path):
        read_pipeline(reading, text, root, "other", index)
    elif _CHARTS.fullmatch(path):
        read_tree(reading, text, root, "helm", index)
    else:
        read_tree(reading, text, root, "settings", index)


_PAIR = re.compile(
    r"^(?P<indent>[ \t]*)(?:-[ \t]+)?(?P<q>[\"']?)(?P<name>[A-Za-z_][\w.-]*)(?P=q)[ \t]*:[ \t]+"
    r"(?P<value>\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[^\s#|>&*!][^\n#]*?)?[ \t]*(?:#[^\n]*)?\r?$",
    re.MULTILINE,
)
_ITEM = re.compile(
    r"^[ \t]*-[ \t]+(?P<q>[\"']?)(?P<name>[A-Za-z_]\w*)=(?P<value>[^\n]*?)(?P=q)[ \t]*\r?$",
    re.MULTILINE,
)
_VALUE_BELOW = re.compile(
    r"\r?\n[ \t]*value:[ \t]*(?P<value>\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|"
    r"[^\s#][^\n#]*?)[ \t]*(?:#[^\n]*)?\r?(?=\n|\Z)"
)


def _search_lines(reading: Reading, text: str, document: Document) -> None:
    """Search the lines of a document that does not parse, as far as single lines can tell."""
    start, end = document.start, document.start + len(document.text)
    form, place = _guess(reading.path, document.text)
    for found in _ITEM.finditer(text, start, end):
        told = expand(found["value"])
        slot = Slot(form, found["name"], *found.span("value"), ENVIRONMENT, told.value)
        slot.names, slot.has_default = told.names, told.uses_default
        _take(reading, slot, found.start(), found.end())
    for found in _PAIR.finditer(text, start, end):
        name, raw = found["name"], found["value"]
        if name == "name" and raw is not None:
            below = _VALUE_BELOW.match(text, found.end(), end)
            if below is None:
                continue
            name, raw = raw.strip("'\""), below["value"]
            slot = Slot(form, name, *below.span("value"), ENVIRONMENT, raw.strip("'\""))
            _take(reading, slot, found.start(), below.end())
        elif raw is not None and name != "value":
            where = ENVIRONMENT if name.isupper() else place
            told = expand(raw[1:-1] if raw[0] in "'\"" and len(raw) > 1 else raw)
            slot = Slot(form, name, *found.span("value"), where, told.value)
            slot.names, slot.has_default = told.names, told.uses_default
            _take(reading, slot, found.start("name"), found.end("value"))


def _take(reading: Reading, slot: Slot, first: int, last: int) -> None:
    if by_name(slot.name).score >= 0.1 or "://" in (slot.value or ""):
        slot.entry = (first, last)
        slot.context["by_line"] = True
        reading.slots.append(slot)


def _guess(path: str, text: str) -> tuple[str, str]:
    name = path.rsplit("/", 1)[-1]
    if is_compose(name):
        return "compose", TREE
    if "/.github/" in f"/{path}":
        return "github-actions", TREE
    if ".gitlab-ci" in name:
        return "gitlab-ci", TREE
    if "{{" in text and ("/templates/" in f"/{path}" or _CHARTS.fullmatch(path)):
        return "helm", TREE
    kind = re.search(r"^kind:[ \t]*(\w+)", text, re.MULTILINE)
    if kind:
        return "kubernetes", SECRET if kind[1] == "Secret" else TREE
    return "settings", TREE
