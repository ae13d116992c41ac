"""A plan for people to read: one HTML file without anything from elsewhere, and SARIF for machines.

No value is in either: what a plan holds is all that is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from pathlib import Path

from .._version import __version__
from .plan import Open, Plan, PlannedFile, PlannedSecret

__all__ = ["html", "sarif"]


def html(plan: Plan) -> str:
    """Return the report of ``plan``: one page that works without a network and without scripts."""
    kept = [secret for secret in plan.secrets if not secret.goes]
    body = [
        "<h1>From the environment into a store</h1>",
        f'<p class="soft">{escape(plan.root)}, to the store <b>{escape(plan.settings.store)}</b>. '
        "No value is in this report: what stands for one is its fingerprint, which is equal only "
        "where the values are.</p>",
        _tiles(plan),
        *_section("What needs you", [*_questions(plan), *map(_open, plan.open)]),
        *_section("Secrets", [_secrets(plan.moved)] if plan.moved else []),
        *_section("These stay", [_secrets(kept)] if kept else []),
        *_section("Files", list(map(_file, plan.files))),
        *_section("Good to know", [f'<p class="note">{escape(note)}</p>' for note in plan.notes]),
        *_section("What this cannot see", [_HONESTY]),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\"><title>Migration plan</title>"
        f"<style>{_style()}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )


_HONESTY = (
    "<ul><li>Variables whose name is computed when a program runs.</li>"
    "<li>Values that come from outside of this directory: a shell, a CI system, a cluster.</li>"
    "<li>Layers of images that were built before, and clones of the git history.</li>"
    "<li>Whether a database still has the password that an image was given at its first start.</li>"
    "</ul>"
)


def _style() -> str:
    return Path(__file__).with_name("plan_report.css").read_text(encoding="utf-8")


def _section(title: str, parts: list[str]) -> Iterable[str]:
    return [f"<h2>{title}</h2>", *parts] if parts else []


def _tiles(plan: Plan) -> str:
    places = sum(len(secret.origins) for secret in plan.moved)
    tiles = [
        (len(plan.moved), "secrets move", "good"),
        (places, "places hold them now", ""),
        (len(plan.files), "files change", ""),
        (len(plan.questions), "questions", "odd" if plan.questions else ""),
        (len(plan.open), "places stay", "bad" if plan.open else "good"),
    ]
    inner = "".join(
        f'<div class="tile"><b class="{kind}">{count}</b>{label}</div>'
        for count, label, kind in tiles
    )
    return f'<div class="tiles">{inner}</div>'


def _questions(plan: Plan) -> list[str]:
    return [
        f'<p class="note">{escape(question.text)}<br><span class="soft">Answer <code>'
        f"{escape(question.id)}</code> in the plan: {escape(' or '.join(question.options))}; for now "
        f"<b>{escape(question.answer)}</b>.</span></p>"
        for question in plan.questions
    ]


def _open(about: Open) -> str:
    return (
        f'<p class="note"><code>{escape(about.path)}:{about.line}</code> <b>{escape(about.name)}</b>: '
        f'{escape(about.reason)}<br><span class="soft">{escape(about.remedy)}</span></p>'
    )


def _secrets(secrets: Iterable[PlannedSecret]) -> str:
    rows = []
    for secret in secrets:
        places = "".join(
            f"<li><code>{escape(origin.path)}:{origin.line}</code> {escape(origin.name)}"
            f"{f' ({escape(origin.what)})' if origin.what else ''}</li>"
            for origin in secret.origins
        )
        kind = {"high": "bad", "medium": "odd"}.get(secret.severity, "soft")
        why = escape("; ".join(secret.why))
        rows.append(
            f"<tr><td><b>{escape(secret.name)}</b><br>"
            f'<span class="pill {kind}">{escape(secret.severity)}</span> '
            f'<span class="soft mono">{escape(secret.fingerprint[:8])}</span></td>'
            f"<td><code>{escape(secret.reference)}</code>"
            f'<br><span class="soft">{why}</span></td><td><ul>{places}</ul></td></tr>'
        )
    return (
        "<table><thead><tr><th>Name</th><th>Goes to</th><th>Stands in</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _file(file: PlannedFile) -> str:
    added = sum(1 for line in _body(file) if line.startswith("+"))
    cut = sum(1 for line in _body(file) if line.startswith("-"))
    return (
        f"<details><summary><code>{escape(file.path)}</code> "
        f'<span class="soft">{escape(file.kind)}</span> '
        f'<span class="good">+{added}</span> <span class="bad">-{cut}</span></summary>'
        f"<pre>{''.join(_line(line) for line in _body(file))}</pre></details>"
    )


def _body(file: PlannedFile) -> list[str]:
    return file.diff.splitlines()[2:]


def _line(line: str) -> str:
    kind = {"+": "add", "-": "cut", "@": "at"}.get(line[:1], "")
    return f'<span class="{kind}">{escape(line) or " "}</span>'


def sarif(plan: Plan) -> str:
    """Return the places of ``plan`` as SARIF 2.1.0 (OASIS), with stable fingerprints."""
    results = []
    for secret in plan.secrets:
        for origin in secret.origins:
            level = "error" if secret.severity == "high" else "warning"
            told = f"{origin.name} is a secret in the environment; it goes to {secret.reference}"
            if not secret.goes:
                told = f"{origin.name} is a secret in the environment, and stays there"
            results.append(
                _result("env-secret", level, told, origin.path, origin.line, secret.fingerprint)
            )
    for about in plan.open:
        told = f"{about.name} stays: {about.reason}. {about.remedy}"
        key = f"{about.path}:{about.name}"
        results.append(_result("cannot-close", "error", told, about.path, about.line, key))
    rules = [
        {"id": "env-secret", "shortDescription": {"text": "A secret in the environment"}},
        {"id": "cannot-close", "shortDescription": {"text": "A place that cannot be rewritten"}},
    ]
    driver = {"name": "secretbridge migrate plan", "version": __version__, "rules": rules}
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(document, indent=2) + "\n"


def _result(rule: str, level: str, text: str, path: str, line: int, key: str) -> dict[str, object]:
    place = {"artifactLocation": {"uri": path}, "region": {"startLine": max(1, line)}}
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"secretbridge/v1": key},
    }
