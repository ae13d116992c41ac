"""The bill of materials of the image, in CycloneDX 1.6, from what pip says it has installed.

pip's report names every file that it took, with its digest. The same files give the same text: no
random serial number, and the time is that of the sources.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

__all__ = ["bill"]


def bill(reports: list[dict[str, Any]], epoch: int) -> str:
    """Return the document for what ``reports`` (``pip install --report``) installed, in order.

    The last report's one package is what the image is for; the others are its components.
    """
    packages = [package for report in reports for package in report["install"]]
    subject = packages[-1]
    known = {_name(package): _url(package) for package in packages}
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": _component(subject) | {"type": "application"},
        },
        "components": [
            _component(package) for package in sorted(packages[:-1], key=lambda found: _name(found))
        ],
        "dependencies": [
            {
                "ref": _url(package),
                "dependsOn": sorted({known[name] for name in _needs(package) if name in known}),
            }
            for package in sorted(packages, key=lambda found: _name(found))
        ],
    }
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _component(package: dict[str, Any]) -> dict[str, Any]:
    metadata = package["metadata"]
    hashes = package["download_info"]["archive_info"]["hashes"]
    found = {
        "type": "library",
        "bom-ref": _url(package),
        "name": metadata["name"],
        "version": metadata["version"],
        "purl": _url(package),
        "hashes": [{"alg": "SHA-256", "content": hashes["sha256"]}],
    }
    if metadata.get("summary"):
        found["description"] = metadata["summary"]
    if expression := metadata.get("license_expression"):
        found["licenses"] = [{"expression": expression}]
    elif name := _licence(metadata):
        found["licenses"] = [{"license": {"name": name}}]
    return found


def _licence(metadata: dict[str, Any]) -> str | None:
    """Return the name that older packages give their licence; a whole licence is none."""
    for classifier in metadata.get("classifier", ()):
        if classifier.startswith("License :: ") and not classifier.endswith("OSI Approved"):
            return str(classifier.rpartition(" :: ")[2])
    text = metadata.get("license") or ""
    return text if text and "\n" not in text else None


def _needs(package: dict[str, Any]) -> Iterator[str]:
    for requirement in package["metadata"].get("requires_dist", ()):
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if name:
            yield _normal(name[0])


def _name(package: dict[str, Any]) -> str:
    return _normal(package["metadata"]["name"])


def _url(package: dict[str, Any]) -> str:
    return f"pkg:pypi/{_name(package)}@{package['metadata']['version']}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
