"""What the references of each backend may look like: their grammar as data.

Those of our own backends stand here, so that parsing a reference loads no backend. A plugin's is
read from its class when a reference first names it.
"""

from __future__ import annotations

from ._value import Value, assign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["SCHEMES", "Scheme", "find_scheme", "is_name", "register_scheme"]

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
_NAME = _LOWER | frozenset("0123456789-")
_DIGITS = frozenset("0123456789")
_PARAMETER_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
_AWS_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_+=.@-")


def is_name(text: str) -> bool:
    """Whether ``text`` can name a scheme or a store."""
    return 0 < len(text) <= 63 and text[0] in _LOWER and text[-1] != "-" and not set(text) - _NAME


class Scheme(Value):
    """What a backend's references may look like.

    ``options`` are the backend's own option names beside ``decode`` and ``optional``, which every
    scheme has. With ``segments`` the locator is a path: ``.``, ``..`` and empty segments are
    refused, because they would let a reference leave the place it names. ``absolute`` allows one
    leading slash. ``check`` looks at the decoded locator and the decoded options; it returns None
    or a pair of texts, what is wrong and what to write instead; if the first begins with the name of
    an option, that is where the mistake is said to be. ``example`` is shown in remedies.
    """

    __slots__ = ("absolute", "check", "example", "name", "options", "segments")

    name: str
    options: frozenset[str]
    segments: bool
    absolute: bool
    check: Callable[[str, Mapping[str, str]], tuple[str, str] | None] | None
    example: str

    def __init__(
        self,
        name: str,
        *,
        options: Iterable[str] = (),
        segments: bool = False,
        absolute: bool = False,
        check: Callable[[str, Mapping[str, str]], tuple[str, str] | None] | None = None,
        example: str = "",
    ) -> None:
        if not is_name(name):
            raise ValueError(f"{name!r} is no scheme name: lower-case letters, digits and '-' only")
        assign(self, "name", name)
        assign(self, "options", frozenset(options) | {"decode", "optional"})
        assign(self, "segments", segments)
        assign(self, "absolute", absolute)
        assign(self, "check", check)
        assign(self, "example", example or f"{name}:path/to/secret#key")


def _check_integer_version(locator: str, options: Mapping[str, str]) -> tuple[str, str] | None:
    version = options.get("version")
    if version is None:
        return None
    if set(version) - _DIGITS or version.startswith("0") or len(version) > 10:
        return ("version is not a positive whole number", "write for example ?version=3")
    return None


def _check_aws(locator: str, options: Mapping[str, str]) -> tuple[str, str] | None:
    version = options.get("version")
    if version is not None and (set(version) - _AWS_NAME or not 32 <= len(version) <= 64):
        return (
            "version is no version id of AWS (32 to 64 characters)",
            "copy the VersionId, or use ?stage=AWSPREVIOUS for a staging label",
        )
    stage = options.get("stage")
    if stage is not None and len(stage) > 256:
        return ("stage is longer than 256 characters", "use the staging label's name")
    if locator.startswith("arn:"):
        return _check_arn(locator)
    if set(locator) - _AWS_NAME or len(locator) > 512:
        return (
            "not a name that AWS Secrets Manager can have",
            "names are 1 to 512 letters, digits and /_+=.@-; or give the full ARN",
        )
    return None


def _check_parameter(locator: str, options: Mapping[str, str]) -> tuple[str, str] | None:
    problem = _check_integer_version("", options)
    if problem is not None:
        return problem
    label = options.get("label")
    if label is not None:
        if "version" in options:
            return ("both a version and a label", "keep one of the two")
        if set(label) - _PARAMETER_NAME or label[0] in _DIGITS or len(label) > 100:
            return (
                "not a label that Parameter Store can have",
                "labels are up to 100 letters, digits and _.-, and begin with no digit",
            )
    if locator.startswith("arn:"):
        return _check_parameter_arn(locator)
    name = locator.removeprefix("/aws/reference/secretsmanager/")
    allowed = _PARAMETER_NAME | {"/"} if name == locator else _AWS_NAME
    if ":" in name:
        return (
            "a ':' in the name of a parameter",
            "write ?version=3 for a version and ?label=NAME for a label",
        )
    if set(name) - allowed or len(locator) > 1011 or locator.count("/") > 15:
        return (
            "not a name that Parameter Store can have",
            "names are up to 15 levels of letters, digits and _.-; or give the full ARN",
        )
    if "/" in locator and locator[0] != "/":
        return (
            "a path that does not begin with '/'",
            f"write aws-ssm:/{locator}; only names without '/' have none in front",
        )
    return None


def _check_parameter_arn(locator: str) -> tuple[str, str] | None:
    fields = locator.split(":")
    if (
        len(fields) == 6
        and fields[1].startswith("aws")
        and fields[2] == "ssm"
        and bool(fields[3])
        and not set(fields[3]) - _NAME
        and len(fields[4]) == 12
        and not set(fields[4]) - _DIGITS
        and len(fields[5]) > len("parameter/")
        and fields[5].startswith("parameter/")
        and not set(fields[5]) - _PARAMETER_NAME - {"/"}
    ):
        return None
    return (
        "not the ARN of a parameter",
        "write arn:aws:ssm:REGION:ACCOUNT:parameter/NAME in full, and ?version= or ?label= after it",
    )


def _check_arn(locator: str) -> tuple[str, str] | None:
    fields = locator.split(":")
    if len(fields) > 7:
        return (
            "an ARN with more than 7 fields",
            "leave out the suffix :KEY:STAGE:VERSION that ECS uses; write "
            "?stage=STAGE or ?version=ID, and #KEY",
        )
    ok = (
        len(fields) == 7
        and fields[1].startswith("aws")
        and fields[2] == "secretsmanager"
        and bool(fields[3])
        and not set(fields[3]) - _NAME
        and len(fields[4]) == 12
        and not set(fields[4]) - _DIGITS
        and fields[5] == "secret"
        and bool(fields[6])
        and not set(fields[6]) - _AWS_NAME
    )
    if ok:
        return None
    return (
        "not the ARN of a secret",
        "write arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-SUFFIX in full",
    )


_VAULT_PARAMETERS = (
    # Parameters of Vault's writing endpoints (pki/issue, pki/sign, ssh/sign, aws/sts,
    # kubernetes/creds) that shape the credential itself; a closed list, so that a misspelt option
    # is an error.
    "alt_names",
    "common_name",
    "exclude_cn_from_sans",
    "format",
    "ip_sans",
    "key_type",
    "kubernetes_namespace",
    "not_after",
    "other_sans",
    "private_key_format",
    "remove_roots_from_chain",
    "role_session_name",
    "ttl",
    "uri_sans",
    "user_ids",
    "valid_principals",
)

SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme(
            "vault",
            options=("version", *_VAULT_PARAMETERS),
            segments=True,
            check=_check_integer_version,
            example="vault:kv/app/db#password",
        ),
        Scheme(
            "aws-sm",
            options=("version", "stage"),
            check=_check_aws,
            example="aws-sm:app/db#password",
        ),
        Scheme(
            "aws-ssm",
            options=("version", "label"),
            segments=True,
            absolute=True,
            check=_check_parameter,
            example="aws-ssm:/app/db/password",
        ),
        Scheme("file", segments=True, absolute=True, example="file:db_password"),
        Scheme(
            "local",
            options=("version",),
            segments=True,
            check=_check_integer_version,
            example="local:app/db#password",
        ),
    )
}
"""The schemes known so far, by name. Plugins are added when a reference first names them."""

_unknown: set[str] = set()


def register_scheme(scheme: Scheme) -> None:
    """Make references of ``scheme`` known; entry points do it for installed plugins."""
    SCHEMES[scheme.name] = scheme
    _unknown.discard(scheme.name)


def find_scheme(name: str) -> Scheme | None:
    """Return the scheme ``name``; entry points are read only when it is not known yet."""
    scheme = SCHEMES.get(name)
    if scheme is not None or name in _unknown:
        return scheme
    from importlib.metadata import entry_points

    for entry in entry_points(group="secretbridge.backends", name=name):
        found: Scheme = entry.load().scheme
        SCHEMES[name] = found
        return found
    if len(_unknown) < 1000:  # bounded: unknown names come from whoever writes references
        _unknown.add(name)
    return None
