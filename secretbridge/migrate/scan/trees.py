"""YAML of other kinds: Helm values, Kustomize, pipelines, and whatever has an ``environment``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..detect.lists import among
from ..detect.names import by_name
from .commands import assignments, in_shell
from .content import read_lines
from .interpolation import expand_settings
from .kubernetes import variable
from .slot import CONFIG, ENVIRONMENT, SECRET, TREE, Reading, Slot
from .yaml_nodes import Mapping, Node, Scalar, Sequence

__all__ = ["read_kustomization", "read_pipeline", "read_tree"]

_VARIABLES = re.compile(
    r"env|envs|environment|env_?vars?|env_variables|environment_?variables|variables|"
    r"extra_?env(_?vars)?|"
    r"build_?env|container_?env|additional_?env(_?vars)?|secret_?env|envFrom|plainEnv|app_?env|"
    r"extra_?vars",
    re.IGNORECASE,
)
_OBJECT_REFERENCES = re.compile(
    r"existing.*|.*secret_?(key_?)?ref.*|.*secret_?name|.*(secret|password|token|user|"
    r"key)s?_?keys?(_?name)?|"
    r".*_?key_?ref|.*value_?from|.*secret_?store.*|secretKeys|.*keyName|.*fromSecret.*|secrets",
    re.IGNORECASE,
)
"""Keys of charts whose values are names of objects, and keys in them."""

_SCRIPTS = among("run script before_script after_script command cmd entrypoint bash sh")


def read_pipeline(reading: Reading, text: str, root: Node, form: str, document: int = 0) -> None:
    """Add variables and scripts of a CI pipeline."""
    context: dict[str, object] = {"document": document}
    for key, node, parents in _everything(root):
        if key.value in _SCRIPTS:
            for scalar in node.items if isinstance(node, Sequence) else [node]:
                if isinstance(scalar, Scalar):
                    _script(reading, form, text, scalar, {**context, "place": key.value})
        elif _VARIABLES.fullmatch(key.value) or (form == "github-actions" and key.value == "with"):
            place = ENVIRONMENT if key.value != "with" else TREE
            told = {**context, "place": "/".join((*parents, key.value))}
            reading.slots += [
                _told(slot, told)
                for slot in _variables(form, node, place, form == "github-actions")
            ]
        elif key.value == "image" and isinstance(node, Scalar):
            context["image"] = node.value


def _told(slot: Slot, context: dict[str, object]) -> Slot:
    slot.context = {**context, **slot.context}
    return slot


def _script(
    reading: Reading, form: str, text: str, scalar: Scalar, context: dict[str, object]
) -> None:
    found = list(assignments(form, text, scalar.start, scalar.end))
    taken = {slot.start for slot in found}
    found += [
        slot
        for slot in in_shell(form, text, scalar.start, scalar.end)
        if slot.start not in taken
        and not any(each.start <= slot.start < each.end for each in found)
    ]
    reading.slots += [_told(slot, context) for slot in found]


def _variables(form: str, node: Node, place: str, is_strict: bool = False) -> Iterator[Slot]:
    """Return the slots of a map, a list of ``NAME=value``, or a list of ``name`` and ``value``."""
    if isinstance(node, Mapping):
        for key, value in node.all_pairs():
            if isinstance(value, Mapping) and isinstance(inner := value.get("value"), Scalar):
                value = inner  # GitLab: {value: ..., description: ...}
            if isinstance(value, Scalar):
                if value.is_null and is_strict:
                    continue
                slot = Slot(form, key.value, value.start, value.end, place)
                slot.value = "" if value.is_null else value.value
                slot.entry = (key.start, value.end)
                yield slot
    for item in node.items if isinstance(node, Sequence) else ():
        if isinstance(item, Mapping):
            slot_found = variable(form, item)
            if slot_found is not None:
                yield slot_found
            elif len(item.pairs) == 1:
                yield from _variables(form, item, place)
        elif isinstance(item, Scalar):
            name, equals, told = item.value.partition("=")
            if equals and re.fullmatch(r"[A-Za-z_]\w*", name):
                at = item.start + len(name) + 1 + (0 if item.is_plain else 1)
                end = item.end if item.is_plain else item.end - 1
                yield Slot(form, name, at, end, place, told, entry=(item.start, item.end))


def _everything(root: Node) -> Iterator[tuple[Scalar, Node, tuple[str, ...]]]:
    """Return every key with its value and the keys above, in order; aliases are visited once."""
    todo: list[tuple[Node, tuple[str, ...]]] = [(root, ())]
    seen: set[int] = set()
    while todo:
        node, parents = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        inner: list[tuple[Node, tuple[str, ...]]] = []
        if isinstance(node, Sequence):
            inner = [(item, parents) for item in node.items]
        elif isinstance(node, Mapping):
            for key, value in node.pairs:
                yield key, value, parents
                inner.append((value, (*parents, key.value)[-6:]))
        todo += reversed(inner)


def read_tree(reading: Reading, text: str, root: Node, form: str, document: int = 0) -> None:
    """Add the variables and the strong names of any tree of settings."""
    covered: set[int] = set()
    for key, node, parents in _everything(root):
        told: dict[str, object] = {"document": document, "place": ".".join((*parents, key.value))}
        if _VARIABLES.fullmatch(key.value):
            for slot in _variables(form, node, ENVIRONMENT):
                if slot.start not in covered:
                    covered.add(slot.start)
                    reading.slots.append(_told(slot, told))
            continue
        if not isinstance(node, Scalar) or node.start in covered:
            continue
        if _OBJECT_REFERENCES.fullmatch(key.value) or any(
            _OBJECT_REFERENCES.fullmatch(parent) and parent != "secrets" for parent in parents[-2:]
        ):
            continue
        if node.style == "|" and "\n" in node.value and by_name(key.value).score < 0.7:
            read_lines(reading, form, text, node.start, node.end, told)
            continue
        covered.add(node.start)
        slot = Slot(form, key.value, node.start, node.end, TREE)
        told_value = expand_settings("" if node.is_null else node.value)
        slot.value, slot.names, slot.has_default = told_value
        slot.entry, slot.parents, slot.context = (key.start, node.end), parents, told
        reading.slots.append(slot)


def read_kustomization(reading: Reading, text: str, root: Mapping, document: int = 0) -> None:
    """Add the literals of Kustomize's generators, and name the files that they read."""
    for generator, place in (("secretGenerator", SECRET), ("configMapGenerator", CONFIG)):
        node = root.get(generator)
        for item in node.items if isinstance(node, Sequence) else [node]:
            if not isinstance(item, Mapping):
                continue
            told: dict[str, object] = {
                "document": document,
                "object": item.text("name"),
                "place": generator,
            }
            literals = item.get("literals")
            for scalar in literals.items if isinstance(literals, Sequence) else ():
                if isinstance(scalar, Scalar) and "=" in scalar.value:
                    reading.slots.append(_told(_literal(text, scalar, place), told))
            files = [item.get("env"), item.get("envs")]
            for found in files:
                for file in found.items if isinstance(found, Sequence) else [found]:
                    if isinstance(file, Scalar):
                        hint = {"read_by": generator, "object": item.text("name")}
                        reading.hints.append((file.value, "kustomize", dict(hint)))


def _literal(text: str, scalar: Scalar, place: str) -> Slot:
    name, _, value = scalar.value.partition("=")
    # Kustomize takes one pair of quotes off, as a shell would.
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    at = text.find("=", scalar.start, scalar.end) + 1
    end = scalar.end if scalar.is_plain else scalar.end - 1
    dash = text.rfind("-", 0, scalar.start)
    is_block = dash >= 0 and not text[dash + 1 : scalar.start].strip(" \t")
    return Slot(
        "kustomize",
        name,
        at,
        end,
        place,
        value,
        entry=(dash if is_block else scalar.start, scalar.end),
    )
