"""One file: finds its form by name and first bytes, looks quickly whether it matters, and reads it.

Most files of a tree are settled by the quick look: a program that never names the environment and
assigns no secret is not parsed. What decides is always the same, whatever order files come in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ..detect import providers
from ..detect.judge import Place, judge
from ..detect.lists import among
from ..detect.names import by_name
from ..detect.places import is_test
from .any_of import AnyOf
from .content import read_lines
from .dockerfile import is_dockerfile, read_dockerfile
from .dotenv import is_dotenv
from .programs import MAY_READ, language, read_program
from .python_code import read_python
from .scripts import is_script, read_script
from .slot import CODE, Reading
from .text import Text, Undecodable
from .units import is_unit, read_unit
from .yaml_file import is_yaml, read_yaml

__all__ = ["BINARY", "form_of", "read_file"]

BINARY = among(
    ".png .jpg .jpeg .gif .webp .ico .bmp .tif .tiff .pdf .zip .gz .bz2 .xz .zst .7z .tar "
    ".tgz .jar .war .whl .egg .so .o .a .dll .dylib .exe .bin .class .pyc .pyo .wasm .woff "
    ".woff2 .ttf .otf .eot .mp3 .mp4 .webm .ogg .wav .flac .mov .avi .mkv .sqlite .sqlite3 "
    ".db .mo .pack .idx .parquet .npy .npz .pkl .h5 .onnx .pt .safetensors .deb .rpm .dmg "
    ".iso .img .psd .ai .eps .heic .avif"
)
"""Suffixes of what is never text."""

_SETTINGS = (
    *(".ini", ".cfg", ".conf", ".cnf", ".properties", ".toml", ".tfvars", ".tf", ".hcl", ".npmrc"),
    *(".pypirc", ".prefs", ".config", ".settings", ".acl"),
)
_GENERATED = re.compile(
    r"(package-lock|composer|npm-shrinkwrap|poetry|Pipfile|Cargo|yarn|pnpm-lock|uv|Gemfile|go)"
    r"\.(lock|json|sum|ya?ml)|.*\.(min\.\w+|map|lock|snap|svg|ipynb|geojson|drawio|csv|tsv|po|pot)",
    re.IGNORECASE,
)
_STRONG = rb"pass(?:w(?:or)?d|phrase|wd)?|pwd|secret|token|api_?key|_key|credential|dsn|salt"
_LITERAL = re.compile(
    rb"\w*[\"']?\]?\s*(?::\s*[\w.\[\] |]+)?\s*[=:]\s*(?:\w+\()?[rbu]?[\"'][^\"'\s]"
)
"""What follows a word of :data:`_WORDS` where a text is assigned to the name that it is in."""
_SETTING = re.compile(rb"(?:" + _STRONG + rb"|key|pw|auth)[\w.\-\]\"']*\s*(?:=>|[=:]|\s)\s*\S")
_WORDS = (b"pass", b"pwd", b"secret", b"token", b"_key", b"apikey", b"credential", b"dsn", b"salt")
_LOGIN = re.compile(rb"://[^/\s:@\"']*:[^/\s@\"']+@")
_ENVIRON = AnyOf(
    (
        *(b"environ", b"getenv", b"envvar", b"dotenv", b"setenv", b"import env", b"env("),
        *(b"decouple", b"BaseSettings", b"starlette.config"),
    ),
    stems=(b"env",),
)
_SHELL_WORDS = re.compile(
    rb"pass|pwd|secret|token|key|cred|auth|://|env-file|source |mysql|mariadb|redis-cli|curl|"
    rb"dsn|salt|_pw|\. "
)
_SHEBANG = re.compile(rb"#!.*\b(?:ba|z|k|da|a)?sh\b")
_PYTHON_SHEBANG = re.compile(rb"#!.*\bpython")


def form_of(path: str, head: bytes = b"") -> str:
    """Return which reader a file is for by its path and first bytes, or nothing."""
    name = path.rsplit("/", 1)[-1]
    lower = name.lower()
    dot = lower.rfind(".")
    suffix = lower[dot:] if dot > 0 else ""
    told = _BY_SUFFIX.get(suffix)
    if told is not None and not lower.endswith((".env.js", "dockerfile.py")):
        return told if told != "json" or not _GENERATED.fullmatch(name) else ""
    if suffix in BINARY:
        return ""
    if is_dockerfile(name):
        return "dockerfile"
    if is_dotenv(name):
        return "dotenv"
    if is_yaml(name):
        return "" if _GENERATED.fullmatch(name) else "yaml"
    if is_unit(path):
        return "unit"
    if is_script(name):
        return "script"
    if _GENERATED.fullmatch(name):
        return ""
    if lower.endswith(_SETTINGS) or lower in _BARE_NAMES:
        return "settings"
    if head.startswith(b"#!"):
        if _SHEBANG.match(head):
            return "script"
        if _PYTHON_SHEBANG.match(head):
            return "python"
    return ""


_BY_SUFFIX = {
    ".py": "python",
    ".pyw": "python",
    ".json": "json",
    ".jsonc": "json",
    **dict.fromkeys(
        among(
            ".js .mjs .cjs .jsx .ts .tsx .mts .cts .vue .svelte .astro .go .rb .rake .erb .java .kt "
            ".kts .scala .groovy .gradle .php .rs .cs .fs .vb .ex .exs .pl .pm .c .h .cc .cpp .hpp "
            ".lua .dart .swift"
        ),
        "program",
    ),
    **dict.fromkeys((".md", ".rst", ".txt", ".html", ".css", ".scss", ".xml", ".pyi"), ""),
}
_BARE_NAMES = among(".my.cnf .npmrc .pypirc .netrc redis.conf rabbitmq.conf config")


def read_file(
    path: str,
    data: bytes,
    form: str | None = None,
    beside: Callable[[str], bytes | None] = lambda path: None,
) -> Reading:
    """Return what stands in the file ``path`` (as seen from the scanned root).

    ``beside`` returns another file of the tree. Raises :class:`Undecodable` for what is no text.
    """
    reading = Reading(path, beside=beside)
    form = form_of(path, data[:128]) if form is None else form
    if not form or not _matters(form, path, data):
        if form and b"\0" in data[:4096] and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            raise Undecodable("it is binary")
        return reading
    source = Text(data, _cookie(data) if form == "python" else None)
    if source.encoding == "latin-1" and form != "program":
        reading.problem(1, "it is not UTF-8, and was read as Latin-1", "save it as UTF-8")
    text = source.text
    if form == "json" and path.endswith("package.json"):
        _package(reading, text)
    elif form in ("yaml", "json"):
        read_yaml(reading, text)
    elif form == "dockerfile":
        read_dockerfile(reading, text)
    elif form == "python":
        has_literals = not is_test(path) and _has_literal(data, is_code=True)
        if not read_python(reading, source, has_literals):
            read_program(reading, text, "python")
            read_lines(reading, "python", text, 0, len(text), {}, "code")
    elif form == "unit":
        read_unit(reading, text)
    elif form == "script":
        read_script(reading, text, path.rsplit("/", 1)[-1])
    elif form == "settings":
        read_lines(reading, "settings", text, 0, len(text), {})
    elif form == "program":
        name = language("." + path.rsplit(".", 1)[-1].lower())
        if name:
            read_program(reading, text, name)
    return reading


def _cookie(data: bytes) -> str | None:
    """Return the encoding that a Python file declares, if it is not UTF-8 (PEP 263)."""
    head = b"\n".join(data[:300].split(b"\n")[:2])
    found = re.search(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", head, re.MULTILINE)
    if found is None:
        return None
    name = found[1].decode("ascii").lower()
    return name if name in ("latin-1", "iso-8859-1", "iso-8859-15", "cp1252", "ascii") else None


def _matters(form: str, path: str, data: bytes) -> bool:
    """Take the quick look: whether a file can have anything to report."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    if form == "program":
        return MAY_READ.are_in(data)
    if form in ("yaml", "dockerfile", "dotenv", "unit"):
        return True
    if form == "python":
        return _ENVIRON.are_in(data) or (not is_test(path) and _has_literal(data, is_code=True))
    if form == "script":
        return _SHELL_WORDS.search(data.lower()) is not None
    if form == "json":
        return path.endswith("package.json") or _has_literal(data)
    low = data.lower()
    return _SETTING.search(low) is not None or _LOGIN.search(low) is not None


def _has_literal(data: bytes, is_code: bool = False) -> bool:
    for found in _assigned(data.lower()):
        if not is_code or _may_be_secret(data, found):
            return True
    if b"://" in data and b"@" in data and _LOGIN.search(data):
        return True
    return _PROVIDERS.are_in(data)


def _assigned(low: bytes) -> Iterator[re.Match[bytes]]:
    # To look for each word takes half the time of one pattern that begins with any of them.
    for word in _WORDS:
        at = low.find(word)
        while at >= 0:
            found = _LITERAL.match(low, at + len(word))
            if found is not None:
                yield found
            at = low.find(word, at + 1)


def _may_be_secret(data: bytes, found: re.Match[bytes]) -> bool:
    """Whether an assignment in code would be a finding if it is what it looks like."""
    name = _name_around(data, found.start() - 1)
    if by_name(name).score < 0.7:
        return False
    start = found.end() - 1
    end = data.find(data[start - 1 : start], start, start + 400)
    if end < 0:
        return True
    value = data[start:end].decode("utf-8", "replace")
    return "\\" in value or judge(Place(name, value, CODE, is_exact=True)) is not None


def _name_around(data: bytes, at: int) -> str:
    """Return the name that the byte ``at`` is in."""
    first = at
    while first and (data[first - 1 : first].isalnum() or data[first - 1] == 95):
        first -= 1
    found = re.compile(rb"\w+").match(data, first)
    return found[0].decode("ascii", "replace") if found else ""


_PROVIDERS = AnyOf(
    (
        b"PRIVATE KEY-----",
        *(literal.encode() for literal in providers.LITERALS if len(literal) > 4),
    ),
    stems=(b"pat_", b"live_", b"sk-", b"AK-", b"Key="),
)


def _package(reading: Reading, text: str) -> None:
    for found in re.finditer(
        r'"(dotenv|@dotenvx/dotenvx|dotenv-cli|dotenv-flow|dotenv-expand)"\s*:', text
    ):
        dialect = "dotenvx" if "dotenvx" in found[1] else "dotenv-js"
        reading.hints.append((".env", dialect, {"read_by": reading.path, "near": True}))
    for found in re.finditer(r"--env-file(?:-if-exists)?=([\w./-]+)", text):
        reading.hints.append((found[1], "node", {"read_by": reading.path}))
