"""Programs in other languages: where each reads a variable, and what would replace that."""

from __future__ import annotations

import re

from ..detect.names import by_name
from ..finding import READER
from .any_of import AnyOf
from .slot import CODE, Reading, Slot

__all__ = ["LANGUAGES", "MAY_READ", "language", "read_program"]

LANGUAGES: dict[str, tuple[str, ...]] = {
    "javascript": (".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".mts", ".cts", ".vue", ".svelte"),
    "go": (".go",),
    "ruby": (".rb", ".rake", ".erb", ".ru", ".gemspec"),
    "java": (".java", ".kt", ".kts", ".scala", ".groovy", ".gradle", ".clj"),
    "php": (".php", ".phtml"),
    "rust": (".rs",),
    "csharp": (".cs", ".fs", ".vb"),
    "elixir": (".ex", ".exs"),
    "perl": (".pl", ".pm"),
    "c": (".c", ".h", ".cc", ".cpp", ".hpp"),
    "lua": (".lua",),
    "dart": (".dart",),
    "swift": (".swift",),
    "terraform": (".tf", ".hcl"),
    "python": (".py", ".pyw", ".pyi", ".ipynb"),
}  # fmt: skip
_BY_SUFFIX = {suffix: name for name, suffixes in LANGUAGES.items() for suffix in suffixes}

_Q = r"[\"'`]([A-Za-z_]\w*)[\"'`]"
_PATTERNS: dict[str, tuple[str, ...]] = {
    "javascript": (
        r"process\.env\.([A-Za-z_$]\w*)",
        rf"process\.env\[\s*{_Q}",
        r"import\.meta\.env\.([A-Za-z_]\w*)",
        rf"Deno\.env\.get\(\s*{_Q}",
        r"Bun\.env\.([A-Za-z_]\w*)",
        rf"configService\.(?:get|getOrThrow)(?:<[^>]*>)?\(\s*{_Q}",
    ),
    "go": (rf"os\.(?:Getenv|LookupEnv)\(\s*{_Q}", rf"viper\.(?:BindEnv|Get\w*)\(\s*{_Q}",
           r"envconfig:\"([A-Za-z_]\w*)", r"\benv:\"([A-Za-z_]\w*)"),
    "ruby": (rf"ENV\[\s*{_Q}", rf"ENV\.(?:fetch|key\?|delete|dig)\(?\s*{_Q}"),
    "java": (rf"System\.getenv\(\s*{_Q}", rf"System\.getenv\(\)\.get\(\s*{_Q}",
             r"@Value\(\s*\"\$\{([A-Za-z_][\w.]*)", rf"System\.getenv\[\s*{_Q}"),
    "php": (rf"getenv\(\s*{_Q}", rf"\$_(?:ENV|SERVER)\[\s*{_Q}", rf"\benv\(\s*{_Q}"),
    "rust": (rf"env::var(?:_os)?\(\s*{_Q}", rf"(?:option_)?env!\(\s*{_Q}"),
    "csharp": (rf"GetEnvironmentVariable\(\s*{_Q}",),
    "elixir": (rf"System\.(?:get_env|fetch_env!?)\(\s*{_Q}",),
    "perl": (r"\$ENV\{\s*['\"]?([A-Za-z_]\w*)",),
    "c": (rf"(?:secure_)?getenv\(\s*{_Q}",),
    "lua": (rf"os\.getenv\(\s*{_Q}",),
    "dart": (rf"Platform\.environment\[\s*{_Q}", rf"fromEnvironment\(\s*{_Q}"),
    "swift": (rf"processInfo\.environment\[\s*{_Q}",),
    "terraform": (r"\bvar\.([A-Za-z_]\w*)",),
    "python": (rf"environ\[\s*{_Q}", rf"(?:environ\.get|getenv)\(\s*{_Q}"),
}  # fmt: skip
_COMPILED = {name: re.compile("|".join(each)) for name, each in _PATTERNS.items()}
MAY_READ = AnyOf(
    (
        *(b"env.", b"env[", b"etenv", b"env(", b"env::var", b"env!", b"get_env", b"fetch_env"),
        *(b"environ", b"ENV[", b"ENV.", b"_ENV", b"LookupEnv", b"EnvironmentVariable"),
        *(b"_SERVER[", b"configService", b"@Value"),
    ),
    stems=(b"env", b"ENV", b"Env"),
)
"""What a program that reads the environment cannot do without."""

REMEDIES = {
    "javascript": "read the sidecar's file: fs.readFileSync(process.env.NAME_FILE)",
    "go": "read the sidecar's file: os.ReadFile",
    "ruby": "read the sidecar's file: File.read",
    "java": "read the sidecar's file: Files.readString",
    "php": "read the sidecar's file: file_get_contents",
    "rust": "read the sidecar's file: std::fs::read_to_string",
    "terraform": "read the secret with a data source of the store",
}
"""What to write instead, by language; of others the sidecar's file is read as any file."""


def language(suffix: str) -> str:
    """Return the language of files that end in ``suffix``, or nothing."""
    return _BY_SUFFIX.get(suffix, "")


def read_program(reading: Reading, text: str, name: str) -> None:
    """Add the places where a program in the language ``name`` reads a variable."""
    remedy = REMEDIES.get(name, "read the sidecar's file")
    for found in _COMPILED[name].finditer(text):
        variable = next(filter(None, found.groups()), "")
        if by_name(variable).score < 0.5:
            continue
        slot = Slot("other", variable, found.start(), found.end(), CODE, kind=READER)
        slot.context = {"language": name, "remedy": remedy}
        reading.slots.append(slot)
