"""The configuration that goes with rewritten files: made, or an existing one extended by edits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from ..edits import Change, Edit, edited
from ..moves import Delivery, Needs
from ..plan import PlannedSecret, Settings
from ..yaml_tree import MappingNode, NotEditable, ScalarNode, YamlFile, child, pairs, scalar

__all__ = ["APP_CONFIG", "DIRECTORY", "MANIFEST", "STORE_PATH", "changes", "template_path"]

DIRECTORY = "secretbridge.d"
"""Beside the configuration: templates, scripts, and an embedded store."""
APP_CONFIG = f"{DIRECTORY}/app.yaml"
MANIFEST = f"{DIRECTORY}/kubernetes.yaml"
STORE_PATH = f"./{DIRECTORY}/secrets.sbx"
_GROUP = 20001


def changes(
    settings: Settings,
    secrets: Iterable[PlannedSecret],
    needs: Needs,
    former: Mapping[str, bytes | None],
) -> list[Change]:
    """Return the changes of our own files. ``former``: what is in each of them now."""
    made: list[Change] = []
    moved = [secret for secret in secrets if secret.goes]
    if not moved:
        return []
    delivered = dict(sorted(needs.delivered.items()))
    files = {name: _file(delivery, needs) for name, delivery in delivered.items()}
    runs = needs.has_sidecar or needs.pods or any(d.template for d in delivered.values())
    before = former.get(settings.config)
    if before is None:
        after = _new(settings, moved, files if runs else {}, needs)
    else:
        after = _extended(before, settings, moved, files if runs else {}, needs)
    made.append(Change(settings.config, before, after))
    for name, delivery in delivered.items():
        if delivery.template is not None:
            made.append(_whole(template_path(name), delivery.template.encode(), former))
    library = sorted(needs.library & delivered.keys())
    if library:
        made.append(_whole(APP_CONFIG, _app(settings, library, needs), former))
    if needs.pods:
        manifest = _manifest(after, _app(settings, library, needs), delivered)
        made.append(_whole(MANIFEST, manifest, former))
    for path, (content, mode) in sorted(needs.files.items()):
        made.append(_whole(path, content, former, mode))
    return [change for change in made if change.before != change.after]


def template_path(name: str) -> str:
    """Return where the template of the file ``name`` is."""
    return f"{DIRECTORY}/{name}.j2"


def _whole(
    path: str, content: bytes, former: Mapping[str, bytes | None], mode: int = 0o644
) -> Change:
    return Change(path, former.get(path), content, mode)


def _file(delivery: Delivery, needs: Needs) -> str:
    parts = []
    if delivery.template is not None:
        parts.append(f"template: ./{template_path(delivery.name)}")
    mode = needs.modes.get(delivery.name)
    if mode:
        parts.append(f'mode: "{mode}"')
    readers = sorted(needs.readers.get(delivery.name, ()))
    if mode and readers:
        parts.append(f"owner: {readers[0]}")
    elif readers:
        parts.append(f"readers: [{', '.join(map(str, readers))}]")
    return f"{{{', '.join(parts)}}}"


def _new(
    settings: Settings, moved: list[PlannedSecret], files: Mapping[str, str], needs: Needs
) -> bytes:
    lines = ["# Names that code uses, and where their values are kept.", "stores:"]
    lines += [f"  {line}" for line in _store(settings)]
    lines += ["secrets:", *(f"  {line}" for line in _secrets(moved))]
    if files:
        lines += ["sidecar:", f"  target: {scalar(settings.target)}", '  mode: "0440"']
        if needs.has_sidecar or needs.pods:
            lines.append(f"  group: {_GROUP}")
        lines.append("  files:")
        lines += [f"    {scalar(name)}: {text}" for name, text in files.items()]
    return ("\n".join(lines) + "\n").encode()


def _store(settings: Settings) -> list[str]:
    if settings.backend == "local":
        return [f"{settings.store}: {{backend: local, path: {STORE_PATH}}}"]
    return [f"{settings.store}: {{backend: {settings.backend}}}"]


def _secrets(moved: Iterable[PlannedSecret]) -> list[str]:
    return [f"{scalar(secret.name)}: {_reference(secret.reference)}" for secret in moved]


def _reference(text: str) -> str:
    # `#` begins a comment only after a blank, and `:` separates only before one.
    return text if all(char.isalnum() or char in ":/#._-@+" for char in text) else json.dumps(text)


def _extended(
    before: bytes,
    settings: Settings,
    moved: list[PlannedSecret],
    files: Mapping[str, str],
    needs: Needs,
) -> bytes:
    file = YamlFile(before)
    root = file.documents[0] if file.documents else None
    if not isinstance(root, MappingNode):
        raise NotEditable("the configuration is no mapping")
    known = {name for name, _, _ in pairs(child(root, "secrets"))}
    missing = [secret for secret in moved if secret.name not in known]
    edits: list[Edit] = []
    stores = child(root, "stores")
    if all(name != settings.store for name, _, _ in pairs(stores)):
        edits += _add(file, root, "stores", _store(settings))
    if missing:
        edits += _add(file, root, "secrets", _secrets(missing))
    sidecar = child(root, "sidecar")
    present = {name for name, _, _ in pairs(child(sidecar, "files"))}
    new = [f"{scalar(name)}: {text}" for name, text in files.items() if name not in present]
    if new and sidecar is None:
        lines = [f"target: {scalar(settings.target)}", 'mode: "0440"']
        lines += [f"group: {_GROUP}"] if needs.has_sidecar or needs.pods else []
        edits += _add(file, root, "sidecar", [*lines, "files:", *(f"  {line}" for line in new)])
    elif new:
        assert sidecar is not None
        plain = all(text == "{}" for name, text in files.items() if name not in present)
        # Left out, every secret becomes a file of its name; naming some would drop the others.
        if not (plain and child(sidecar, "files") is None):
            edits += _add(file, sidecar, "files", new)
    return edited(before, edits)


def _add(file: YamlFile, parent: object, key: str, lines: list[str]) -> list[Edit]:
    """Add ``lines`` below ``key`` of ``parent``, which is made when it is not there."""
    assert isinstance(parent, MappingNode)
    for name, key_node, value in pairs(parent):
        if name != key:
            continue
        if isinstance(value, MappingNode) and value.value:
            return [file.append_pairs(value, lines, ", ".join(lines))]
        if isinstance(value, MappingNode):  # `{}`
            indent = " " * (file.column(key_node) + 2)
            text = "".join(f"{file.newline}{indent}{line}" for line in lines)
            return [Edit(*file.span(value), text.encode())]
        if isinstance(value, ScalarNode) and value.value == "":
            colon = file.text.index(":", file.end(key_node)) + 1
            indent = " " * (file.column(key_node) + 2)
            return [file.insert_lines(colon, [indent + line for line in lines])]
        raise NotEditable(f"`{key}` of the configuration is no mapping with entries")
    if parent.flow_style:
        raise NotEditable("the configuration is written in one line")
    return [file.append_pairs(parent, [f"{key}:", *(f"  {line}" for line in lines)], "")]


def _app(settings: Settings, names: Iterable[str], needs: Needs) -> bytes:
    """Return the configuration of programs: the sidecar's files, and no way to a store."""
    lines = [
        "# For the programs that are given files by the sidecar: they need no way to a store.",
        "stores:",
        f"  file: {{backend: file, roots: [{scalar(settings.target)}]}}",
        "secrets:",
        *(f"  {scalar(name)}: file:{needs.files_of.get(name, name)}" for name in names),
    ]
    return ("\n".join(lines) + "\n").encode()


def _manifest(config: bytes, app: bytes, delivered: Mapping[str, Delivery]) -> bytes:
    """Return the ConfigMaps that pods mount: ours for the sidecar, and the one for programs."""
    data = {"secretbridge.yaml": config.decode()}
    for name, delivery in delivered.items():
        if delivery.template is not None:
            data[f"{name}.j2"] = delivery.template
    lines = [
        "# The configuration of pods. kubectl apply -f before the workloads that mount it.",
        *_config_map("secretbridge", data),
        "---",
        *_config_map("secretbridge-app", {"secretbridge.yaml": app.decode()}),
    ]
    return ("\n".join(lines) + "\n").encode()


def _config_map(name: str, data: Mapping[str, str]) -> list[str]:
    lines = ["apiVersion: v1", "kind: ConfigMap", f"metadata: {{name: {name}}}", "data:"]
    for key, text in data.items():
        # Without a line break at its end, a text is written in quotes, where nothing is added to it.
        if text.endswith("\n") and not text.startswith((" ", "\n")) and not text.endswith("\n\n"):
            lines += [
                f"  {scalar(key)}: |",
                *(f"    {line}".rstrip() for line in text.splitlines()),
            ]
        else:
            lines.append(f"  {scalar(key)}: {json.dumps(text)}")
    return lines
