"""How much the name of a variable or key says about what it holds.

The last word of a name says most (measured on 3,836 labelled slots: of names that end in ``password``
289 of 294 hold a credential, of those in ``url`` 9 of 114). A word before it can take that back
(``ALLOW_EMPTY_PASSWORD``, ``PUBLIC_KEY``), and so can a word behind it (``PASSWORD_FILE``).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from .lists import among

__all__ = ["Named", "by_name", "words"]


class Named(NamedTuple):
    """What a name says: how likely a credential is (0 to 1), of which family, and why."""

    score: float
    family: str
    text: str


_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")

_LAST = {
    **dict.fromkeys(among("password passwd passphrase passwort senha contrasena kennwort"), 0.97),
    **dict.fromkeys(["pass", "pwd"], 0.93),
    **dict.fromkeys(["passwords", "pw", "passwds"], 0.9),
    **dict.fromkeys(among("secret token apikey apitoken authtoken secretkey"), 0.95),
    **dict.fromkeys(among("htpasswd salt pepper psk mnemonic creds authkey"), 0.85),
    **dict.fromkeys(among("secrets credential credentials salts pat apikeys"), 0.75),
    **dict.fromkeys(among("jwt bearer sas dsn datasource keytab"), 0.65),
    **dict.fromkeys(["tokens", "pin", "otp", "seed"], 0.55),
}
_FAMILIES = {
    **dict.fromkeys(
        among(
            "password passwd passphrase passwort senha contrasena kennwort pass pwd passwords pw "
            "passwds psk pin"
        ),
        "password",
    ),
    **dict.fromkeys(["dsn", "datasource"], "url"),
}
# Written without a separator: RCONPW, WEBPASSWORD, GITHUBTOKEN, PGPASSWORD.
_GLUED = re.compile(
    r"(?P<front>\w*?)(?P<last>password|passwd|passphrase|passwort|secret|token|apikey|secretkey|"
    r"privatekey|authkey|encryptionkey|signingkey|masterkey|accesskey|licensekey|pwd|pass|pw)\d*"
)
_NOT_GLUED = among(
    "bypass compass trespass surpass encompass underpass overpass firebasepass oldpwd npw sshpass"
)
_GLUED_FILE = re.compile(
    r"(password|passwd|passphrase|secret|token|key|credential|cert)s?"
    r"(file|path|dir|name|type|length|policy|id|url|host|field|label)s?"
)

_QUALIFIERS = among(
    "prod production dev develop development stage staging test testing sandbox live local ci "
    "qa uat old new current previous prev next default fallback primary secondary main eu us "
    "value content data b64 base64 encoded enc encrypted plain plaintext raw hex string str "
    "here pem a b c v master slave replica ro rw readonly legacy temp tmp backup json "
    "override"
)
"""Words behind the one that tells, which do not change what is held."""

_KEY_SECRET = among(
    "api secret private priv encryption encrypt crypt crypto cipher aes des master signing "
    "sign signature app application jwt jws hmac access auth account storage session cookie "
    "license licence service shared webhook admin deploy root token security integration "
    "write server subscription activation product preshared wireguard wg vault unseal "
    "recovery backup fernet hashing csrf flask django rails laravel nextauth stripe openai "
    "anthropic gemini sendgrid mailgun mailchimp azure twilio datadog dd newrelic pusher "
    "cloudflare groq mistral cohere huggingface hf pinecone qdrant meili elastic kibana join "
    "psk enc logged nonce agent node master shodan rpc decryption cryptographic secure tmdb "
    "ingest ingestion sdk trial"
)
_KEY_OTHER = among(
    "public pub metadata publishable primary foreign sort partition range cache routing site sitekey "
    "index object known registry config label context map dict header topic unique "
    "idempotency message translation feature flag lookup event project issue hot short meta "
    "row column field group bucket redis sonar queue search shard lock i18n param parameter "
    "query form answer binding dedup dedupe grouping ordering sorting json yaml xml toml "
    "attribute tag entity user property arrow enter shift ctrl command escape any press "
    "material"
)

_CLEARS = among(
    "chars characters charset alphabet field fields input selector element regexp css xpath "
    "file files filename path paths dir "
    "directory folder location name names user users "
    "username email mail id ids arn alias url uri urls uris host hosts hostname port ports "
    "address addr endpoint endpoints issuer audience aud iss scheme type types kind version "
    "expiry expires expiration expire expired ttl lifetime timeout duration age days hours "
    "hour minutes minute seconds secs sec ms interval length len size min max limit limits "
    "count num number policy policies rule rules regex pattern format encoding algorithm "
    "algorithms algo alg cost rounds iterations enabled enable disabled disable required "
    "require requires allowed allow mode method methods strategy provider providers backend "
    "backends driver engine class module header headers prefix suffix attribute column param "
    "parameter label text title message hint prompt question template subject link page view "
    "route reset change strength validator validators hasher hashers store manager server "
    "region namespace project org organization owner scope scopes realm domain public cert "
    "certificate crt ca chain bundle fingerprint thumbprint status state index on off check "
    "verify verification validation rotation rotate bits env source ref reference mount "
    "volume delay window grace refresh threshold quota budget usage model per retry retries "
    "generator plugin plugins handler factory service client protocol cipher ciphers digest "
    "history list map login logins locked lock attempts failures group role roles permission "
    "permissions creation created updated date time timestamp leeway skew nbf exp iat kid "
    "jwks discovery introspection revocation exchange bucket table key_name placeholder "
    "description tooltip icon color required set exists present visible visibility hidden "
    "autocomplete sync engine controller operator injector webhookurl path_prefix cookie_name "
    "sender receiver config configuration settings options opts support supported available "
    "separator delimiter algorithmns"
)
"""As the last word, these say that a name is about a secret and not the secret."""

_SWITCHES = among(
    "allow install enable disable use require requires is has show hide skip no force generate auto "
    "min max num number should can with without enabled disabled ask prompt forgot reset "
    "update validate check verify expire expires total count used"
)
"""As the first word, these make the name a question or a number."""

_NOT_REAL = among("invalid incorrect wrong expired missing bad unknown mismatch")

_URLS = among("url uri dsn datasource urls connection conn")
_STORES = among(
    "database db postgres postgresql pg mysql mariadb mongo mongodb redis amqp rabbitmq "
    "broker cloudamqp sqlalchemy jdbc celery cache queue elasticsearch cockroach clickhouse "
    "sql mssql neo4j shadow direct pgbouncer timescale"
)

_PHRASES: tuple[tuple[re.Pattern[str], float, str], ...] = tuple(
    (re.compile(pattern), score, family)
    for pattern, score, family in (
        (r"(.*_)?secret_key_base(_\w+)?", 0.97, "key"),
        (r"(.*_)?(plex_claim|activation_code|auth_code|authcode|access_code)", 0.85, "key"),
        (r"(.*_)?erlang_cookie", 0.9, "key"),
        (r"(.*_)?(neo4j_auth|composer_auth(_json)?|docker_auth_config|redis(cli)?_auth)", 0.9, ""),
        (r"(.*_)?dockerconfigjson|dockercfg", 0.9, ""),
        (r"(.*_)?(gh|github|gitlab|azure|ado|devops|git|repo|npm|bitbucket)_pat", 0.9, "key"),
        (r"(.*_)?data_source_name|(.*_)?sql_alchemy_conn", 0.65, "url"),
        (r"(.*_)?(connection_strings?|conn_str|connectionstring)(_\w+)?", 0.7, "url"),
        (r"(.*_)?(service_account|gcp|google|gcloud|firebase)_(json|key_json|credentials_json|"
         r"sa_key)",
         0.85, ""),
        (r"(.*_)?(vault_|approle_|^)secret_id", 0.85, "key"),
        (r"(.*_)?role_id", 0.1, ""),
        (r"(.*_)?secret_access_key", 0.97, "key"),
        (r"(.*_)?access_key_id", 0.55, "id"),
        (r"(.*_)?(access|s3)_key", 0.75, "key"),
        (r"(.*_)?password_(hash|digest|crypt)", 0.8, "hash"),
        (r"(.*_)?(slack|discord|teams|mattermost)_(\w+_)?(webhook|hook)(_ur[li])?", 0.65, "url"),
        (r"(.*_)?(webhook|hook)_secret", 0.97, "key"),
        (r"(.*_)?sentry_dsn|sentry_(\w+_)?dsn", 0.55, "id"),
        (r"(.*_)?(seed|recovery|secret|backup)_(phrase|words|mnemonic)", 0.9, "key"),
        (r"(.*_)?(otp|totp|mfa|2_fa)_(secret|seed)", 0.95, "key"),
        (r"(.*_)?licen[sc]e_(key|code)", 0.8, "key"),
        (r"(.*_)?licen[sc]e", 0.45, "key"),
        (r"(.*_)?(ansible_)?(become|sudo|ssh)_pass(word)?", 0.97, "password"),
        (r"(.*_)?(pw|pass|passwd|password)_?(md5|sha\d*|sha_\d+|bcrypt|argon2)", 0.75, "hash"),
        (r"mysql_pwd|pgpassword|sshpass", 0.97, "password"),
        (r"(.*_)?(smtp|basic|http|proxy|registry|admin|docker)_auth", 0.4, "auth"),
        (r"(.*_)?(basic_auth|auth)_(users?|credentials|pair)", 0.45, "auth"),
        (r"(.*_)?(tls|ssl|ssh|server|client|host|rsa|gpg|pgp|cert)_key"
         r"(_(pem|content|data|value|raw|b64|base64))?", 0.72, "key"),
        (r"(.*_)?auth_?token_(\w+)?secret", 0.9, "key"),
        (r"(.*_)?(vapid|rsa|ec|ssh|jwt|gpg|pgp|app|signing)_private", 0.85, "key"),
        (r"(.*_)?google_application_credentials", 0.0, ""),
        (r"(.*_)?allow_empty_.*|(.*_)?random_.*password", 0.05, "password"),
        (r"(.*_)?(cookie|session|jwt|token|signing)_secret_(key|value|base|string)", 0.9, "key"),
        (r"(.*_)?(csrf|xsrf|session|pagination|continuation|next_page|page|cancellation|syntax|"
         r"stop|pad|eos|bos|unk|mask|sep|cls|design|max|min|special|lexer|line|end|start|"
         r"space|newline|indent|kind_of)_tokens?", 0.25, "key"),
        (r"(.*_)?(next|start|end|first|last|begin|current|peek|prev|previous)_token", 0.25, "key"),
        (r"(.*_)?(passport|keyboard|keyword|keycloak|authentik|compass|valkey)", 0.0, ""),
        (r"pwd|oldpwd", 0.0, ""),
    )
)  # fmt: skip

_ANY_PHRASE = re.compile("|".join(pattern.pattern for pattern, _, _ in _PHRASES))

_STEMS = re.compile(
    r"pass|pwd|pw|secret|token|key|cred|salt|pepper|psk|pat\b|pat_|jwt|bearer|sas|dsn|datasource|pin|otp|seed|"
    r"mnemonic|senha|contrasena|kennwort|auth|private|hook|claim|code|cookie|conn|ur[li]|license|json|"
    r"hash|digest|phrase|keytab|role_id|docker(cfg|config)"
)
"""A name without any of them is settled at once."""

_PUBLIC = re.compile(r"(next_public|nuxt_public|expo_public|public|storybook|plasmo_public)_.*")
_BROWSER = re.compile(r"(vite|react_app|gatsby|vue_app|ng_app|craco)_.*")


def words(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case: split at separators and at changes of case."""
    return tuple(word.lower() for word in _WORD.findall(name))


@lru_cache(maxsize=8192)
def by_name(name: str) -> Named:
    """Return what ``name`` says alone, whatever stands there."""
    # Nested settings: database__connection__password, sonar.jdbc.password, auth/password.
    told = words(name[-200:])
    if not told:
        return Named(0.0, "", "the name has no words")
    named = _judged(told)
    joined = "_".join(told)
    if named.score and _PUBLIC.fullmatch(joined):
        score = 0.6 if named.family == "password" or told[-1] == "secret" else 0.1
        return Named(min(named.score, score), named.family, "the name says that it is public")
    if named.score and _BROWSER.fullmatch(joined):
        score = 0.7 if named.family == "password" or told[-1] in ("secret", "token") else 0.4
        return Named(min(named.score, score), named.family, "it is built into what browsers load")
    return named


def _judged(told: tuple[str, ...]) -> Named:
    joined = "_".join(told)
    if not _STEMS.search(joined):
        return Named(0.0, "", "the name says nothing of a secret")
    for pattern, score, family in _PHRASES if _ANY_PHRASE.fullmatch(joined) else ():
        if pattern.fullmatch(joined):
            return Named(score, family, f"names like {joined.upper()} are known")
    at = len(told) - 1
    while at > 0 and (told[at].isdigit() or told[at] in _QUALIFIERS) and not _tells(told[at]):
        at -= 1
    last = told[at]
    named = _by_last(told[: at + 1], last)
    if named.score > 0.5 and set(told[:at]) & _NOT_REAL:
        return Named(0.1, named.family, "the name speaks of one that is not valid")
    if named.score > 0.5 and (told[0] in _SWITCHES or "random" in told) and at > 0:
        return Named(0.1, named.family, f"'{told[0]}' makes it a switch or a number")
    if named.score >= 0.5 and {"max", "min", "num"} & set(told[:at]) and last.endswith("s"):
        return Named(0.1, named.family, "it counts")
    return named


def _tells(word: str) -> bool:
    return word in _LAST or word == "key"


def _by_last(told: tuple[str, ...], last: str) -> Named:
    before = told[-2] if len(told) > 1 else ""
    if last in _LAST:
        if before in ("public", "pub") or (last == "token" and before in ("num", "max")):
            return Named(0.1, "key", "the name says that it is public or a number")
        if last in ("pin", "otp", "seed") and len(told) == 1:
            return Named(0.4, "key", f"the name is '{last}'")
        return Named(_LAST[last], _FAMILIES.get(last, "key"), f"the name ends in '{last}'")
    if last in ("key", "keys"):
        return _by_key(told, before, last)
    if last in _URLS and set(told) & _STORES:
        # An address of a cache or a queue seldom has a password; that of a database mostly does.
        score = 0.7 if last != "conn" and {"database", "db", "sql"} & set(told) else 0.45
        return Named(score, "url", "names like it hold an address with a password")
    if last in ("auth", "authorization"):
        return Named(0.3 if last == "auth" else 0.5, "auth", f"the name ends in '{last}'")
    glued = _GLUED.fullmatch(last)
    if glued and last not in _NOT_GLUED and not last.endswith("ypass"):
        word = glued["last"]
        score = _LAST.get(word, 0.9)
        # Two letters are soon there by chance.
        score = score if len(word) > 2 or len(last) <= 8 else 0.4
        return Named(score - 0.02, _FAMILIES.get(word, "key"), f"the name ends in '{word}'")
    if last in _CLEARS or _GLUED_FILE.fullmatch(last):
        about = bool({*_LAST, "key"} & set(told[:-1]))
        text = f"'{last}' says that it is about a secret" if about else f"the name ends in '{last}'"
        return Named(0.05, "about" if about else "", text)
    inner = [word for word in told[:-1] if word in _LAST and _LAST[word] >= 0.85]
    if inner:
        # PASSWORD_ALICE, TOKEN_GITHUB, SECRET_ABC: the value decides.
        family = _FAMILIES.get(inner[-1], "key")
        score = 0.62 if told[0] == inner[-1] else 0.48
        return Named(score, family, f"the name has '{inner[-1]}' in it")
    return Named(0.0, "", "the name says nothing of a secret")


def _by_key(told: tuple[str, ...], before: str, last: str) -> Named:
    score = 0.72
    if before in _KEY_OTHER and not {"encryption", "secret"} & set(told):
        score = 0.15
    elif before in _KEY_SECRET or {"secret", "private", "encryption", "api"} & set(told):
        score = 0.93
    elif not before:
        score = 0.4
    if last == "keys":
        score -= 0.25
    return Named(score, "key", f"the name ends in '{before + ' ' if before else ''}{last}'")
