"""Each mistake is told with its line, key, cause and remedy, in YAML and in TOML alike.

The line that holds the mistake is marked with ``#!`` in both texts.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from secretbridge.config import load_config
from secretbridge.errors import ConfigError

CANARY = "cor4ect-horse-canary"


@dataclass(frozen=True)
class Case:
    name: str
    key: str
    cause: str
    remedy: str
    yaml: str
    toml: str


SIDECAR_YAML = "secrets: {db: 'file:db', user: 'file:user'}\nsidecar:\n  target: /run/x\n"
SIDECAR_TOML = "secrets = {db = 'file:db', user = 'file:user'}\n[sidecar]\ntarget = '/run/x'\n"


def sidecar(name: str, key: str, cause: str, remedy: str, yaml: str, toml: str) -> Case:
    return Case(
        name,
        f"sidecar.{key}" if key else "sidecar",
        cause,
        remedy,
        SIDECAR_YAML + "".join(f"  {line}\n" for line in yaml.splitlines()),
        SIDECAR_TOML + toml,
    )


CASES = [
    Case(
        "an unknown block",
        "secret",
        "unknown key",
        "did you mean 'secrets'?",
        "cache: {}\nsecret: {}  #!\n",
        "[cache]\n[secret]  #!\n",
    ),
    Case(
        "a misspelt key",
        "cache.max_stal",
        "unknown key",
        "did you mean 'max_stale'? the keys here are grace, max_stale, refresh, refresh_floor",
        "cache:\n  refresh: 5m\n  max_stal: 1h  #!\n",
        "[cache]\nrefresh = '5m'\nmax_stal = '1h'  #!\n",
    ),
    Case(
        "a block that is a list",
        "secrets",
        "a list where a mapping (KEY: VALUE) is needed",
        "write a mapping",
        "secrets: [a]  #!\n",
        "secrets = ['a']  #!\n",
    ),
    Case(
        "a duration with a word",
        "cache.refresh",
        "no length of time",
        "write for example 30s",
        "cache:\n  refresh: 5 minutes  #!\n",
        "[cache]\nrefresh = '5 minutes'  #!\n",
    ),
    Case(
        "a duration that is true",
        "cache.refresh",
        "no length of time",
        "write for example 30s",
        "cache: {refresh: yes}  #!\n",
        "cache = {refresh = true}  #!\n",
    ),
    Case(
        "a refresh of zero",
        "cache.refresh",
        "zero",
        "give a longer time",
        "cache: {refresh: 0}  #!\n",
        "cache = {refresh = 0}  #!\n",
    ),
    Case(
        "an endless duration",
        "cache.max_stale",
        "not between 0 and 10 years",
        "write for example 30s",
        "cache: {max_stale: .inf}  #!\n",
        "cache = {max_stale = inf}  #!\n",
    ),
    Case(
        "a name of a secret with a slash",
        'secrets."app/db"',
        "no name of a secret",
        "letters, digits",
        "secrets:\n  app/db: file:db  #!\n",
        "[secrets]\n'app/db' = 'file:db'  #!\n",
    ),
    Case(
        "a number instead of a reference",
        "secrets.pin",
        "no reference",
        "vault:kv/app/db#password",
        "secrets:\n  db: file:db\n  pin: 20240117  #!\n",
        "[secrets]\ndb = 'file:db'\npin = 20240117  #!\n",
    ),
    Case(
        "nothing instead of a reference",
        "secrets.db",
        "no reference",
        "SCHEME:LOCATOR",
        "secrets:\n  db:  #!\n",
        "[secrets]\ndb = []  #!\n",
    ),
    Case(
        "a value instead of a reference",
        "secrets.db",
        "no scheme at position 0",
        "write SCHEME:LOCATOR",
        f"secrets:\n  db: {CANARY}  #!\n",
        f"[secrets]\ndb = '{CANARY}'  #!\n",
    ),
    Case(
        "a value in the shape of a URL instead of a reference",
        "secrets.db",
        "unknown scheme",
        "known schemes are",
        f"secrets:\n  db: postgres://app:{CANARY}@host/db  #!\n",
        f"[secrets]\ndb = 'postgres://app:{CANARY}@host/db'  #!\n",
    ),
    Case(
        "an unknown option of a reference",
        "secrets.db.reference",
        "file:db?versoin=1: unknown option 'versoin' at position 8",
        "options of file are",
        "secrets:\n  db:\n    refresh: 1m\n    reference: file:db?versoin=1  #!\n",
        "[secrets.db]\nrefresh = '1m'\nreference = 'file:db?versoin=1'  #!\n",
    ),
    Case(
        "a reference that is left out",
        "secrets.db.reference",
        "missing",
        "add reference: vault:kv/app/db#password",
        "secrets:\n  db: {refresh: 1m}  #!\n",
        "[secrets]\ndb = {refresh = '1m'}  #!\n",
    ),
    Case(
        "a store that nobody configured",
        "secrets.db",
        "vault://secret/app/db#x: there is no store secret",
        "write vault:secret/app/db#x, or add secret under stores",
        "secrets:\n  db: vault://secret/app/db#x  #!\n",
        "[secrets]\ndb = 'vault://secret/app/db#x'  #!\n",
    ),
    Case(
        "a misspelt store",
        "secrets.db",
        "there is no store nighty",
        "did you mean 'nightly'?",
        "stores: {nightly: {backend: file}}\nsecrets:\n  db: file://nighty/app  #!\n",
        "stores.nightly.backend = 'file'\n[secrets]\ndb = 'file://nighty/app'  #!\n",
    ),
    Case(
        "a store of another backend",
        "secrets.db",
        "vault://night/app: the store night has the backend file",
        "write file://night/",
        "stores: {night: {backend: file}}\nsecrets:\n  db: vault://night/app  #!\n",
        "stores.night.backend = 'file'\n[secrets]\ndb = 'vault://night/app'  #!\n",
    ),
    Case(
        "a misspelt backend",
        "stores.eu.backend",
        "no such backend",
        "did you mean 'file'? installed backends are",
        "stores:\n  eu:\n    backend: fil  #!\n",
        "[stores.eu]\nbackend = 'fil'  #!\n",
    ),
    Case(
        "a backend that is left out",
        "stores.eu",
        "the backend is missing",
        "installed backends are",
        "stores:\n  eu: {roots: [/run/secrets]}  #!\n",
        "[stores.eu]  #!\nroots = ['/run/secrets']\n",
    ),
    Case(
        "a backend that is a number",
        "stores.eu.backend",
        "a number where the name of a backend is needed",
        "write its name",
        "stores:\n  eu:\n    backend: 7  #!\n",
        "[stores.eu]\nbackend = 7  #!\n",
    ),
    Case(
        "a default store with another backend",
        "stores.vault.backend",
        "the default store of vault with the backend file",
        "give the store another name",
        "stores:\n  vault:\n    backend: file  #!\n",
        "[stores.vault]\nbackend = 'file'  #!\n",
    ),
    Case(
        "a host as the name of a store",
        'stores."vault.example.com"',
        "no name of a store",
        "lower-case letters",
        "stores:\n  vault.example.com: {backend: file}  #!\n",
        "[stores.'vault.example.com']  #!\nbackend = 'file'\n",
    ),
    Case(
        "a store that is a text",
        "stores.file",
        "text where a mapping is needed",
        "write the backend and its keys",
        "stores:\n  file: /run/secrets  #!\n",
        "[stores]\nfile = '/run/secrets'  #!\n",
    ),
    Case(
        "a misspelt key of a store",
        "stores.file.root",
        "unknown key",
        "did you mean 'roots'? the keys here are allow_absolute, roots",
        "stores:\n  file:\n    root: [/run/secrets]  #!\n",
        "[stores.file]\nroot = ['/run/secrets']  #!\n",
    ),
    Case(
        "a wrong item in a list of a store",
        "stores.file.roots[1]",
        "a number where the path of a file or directory is needed",
        "write the path",
        "stores:\n  file:\n    roots:\n    - /run/secrets\n    - 7  #!\n",
        "[stores.file]\nroots = [\n  '/run/secrets',\n  7,  #!\n]\n",
    ),
    *(
        Case(
            f"a credential called {name}",
            f"stores.file.auth.{name}",
            "secrets never stand in the configuration",
            remedy,
            f"stores:\n  file:\n    auth:  #?\n      {name}: {CANARY}  #!\n",
            f"[stores.file.auth]  #?\n{name} = '{CANARY}'  #!\n",
        )
        for name, remedy in [
            ("token", "give token_file"),
            ("secret_id", "give secret_id_file"),
            ("password", "give password_file"),
            ("Private-Key", "give private_key_file"),
            ("aws_secret_access_key", "let the platform provide"),
        ]
    ),
    Case(
        "a password inside an address",
        "stores.file.address",
        "a user name or password in an address",
        "give the address alone",
        f"stores:\n  file:\n    address: https://app:{CANARY}@vault:8200  #!\n",
        f"[stores.file]\naddress = 'https://app:{CANARY}@vault:8200'  #!\n",
    ),
    Case(
        "a sidecar without a target",
        "sidecar.target",
        "missing",
        "add target: /run/secretbridge",
        "sidecar:  #!\n  on_exit: keep\n",
        "[sidecar]  #!\non_exit = 'keep'\n",
    ),
    sidecar(
        "permissions as a number",
        "mode",
        "file permissions as a bare number",
        'quote them: mode: "0440"',
        "mode: 0440  #!",
        "mode = 0o440  #!",
    ),
    sidecar(
        "permissions for everybody",
        "files.db.mode",
        "open to every user",
        "the last digit has to be 0",
        "files:\n  db:\n    mode: '0644'  #!",
        "[sidecar.files.db]\nmode = '0644'  #!",
    ),
    sidecar(
        "permissions with a sticky bit",
        "mode",
        "no file permissions",
        "three octal digits",
        "mode: '4440'  #!",
        "mode = '4440'  #!",
    ),
    sidecar(
        "permissions without the owner",
        "mode",
        "the owner may not read",
        "begin with 4 or 6",
        "mode: '0040'  #!",
        "mode = '0040'  #!",
    ),
    sidecar(
        "a group that is no name",
        "group",
        "no user or group",
        "its number or its name",
        "group: -1  #!",
        "group = -1  #!",
    ),
    sidecar(
        "a file without a secret of its name",
        "files.db_user",
        "no secret has the name of this file",
        "secrets are db, user",
        "files:\n  db_user: {}  #!",
        "[sidecar.files]\ndb_user = {}  #!",
    ),
    sidecar(
        "a file with nothing in it",
        "files.both",
        "no secret has the name of this file",
        "say what the file holds",
        "files:\n  both: {concat: []}  #!",
        "[sidecar.files]\nboth = {concat = []}  #!",
    ),
    sidecar(
        "an unknown secret in a list",
        'files."both.pem".concat[1]',
        "no secret of this name",
        "did you mean 'user'?",
        "files:\n  both.pem:\n    concat:\n    - db\n    - usr  #!",
        "[sidecar.files.'both.pem']\nconcat = [\n'db',\n'usr',  #!\n]",
    ),
    sidecar(
        "an unknown secret",
        "files.x.secret",
        "no secret of this name",
        "did you mean 'user'?",
        "files:\n  x: {secret: users}  #!",
        "[sidecar.files]\nx = {secret = 'users'}  #!",
    ),
    sidecar(
        "two kinds of content",
        "files.x",
        "template and concat exclude each other",
        "keep one of them",
        "files:\n  x: {template: a, concat: [db]}  #!",
        "[sidecar.files]\nx = {template = 'a', concat = ['db']}  #!",
    ),
    sidecar(
        "a format without secrets",
        "files.x",
        "a format without secrets",
        "add secrets:",
        "files:\n  x: {format: json}  #!",
        "[sidecar.files]\nx = {format = 'json'}  #!",
    ),
    sidecar(
        "secrets without a format",
        "files.x",
        "secrets without a format",
        "add format: json",
        "files:\n  x: {secrets: [db]}  #!",
        "[sidecar.files]\nx = {secrets = ['db']}  #!",
    ),
    sidecar(
        "an unknown secret under a key",
        "files.x.secrets.password",
        "no secret of this name",
        "did you mean 'user'?",
        "files:\n  x:\n    format: json\n    secrets:\n      password: usr  #!",
        "[sidecar.files.x]\nformat = 'json'\n[sidecar.files.x.secrets]\npassword = 'usr'  #!",
    ),
    sidecar(
        "secrets that are no names",
        "files.x.secrets",
        "no names of secrets",
        "write [NAME, NAME] or {KEY: NAME}",
        "files:\n  x: {format: json, secrets: db}  #!",
        "[sidecar.files]\nx = {format = 'json', secrets = 'db'}  #!",
    ),
    sidecar(
        "a secret listed twice",
        "files.x.secrets",
        "a secret is listed twice",
        "leave one out",
        "files:\n  x: {format: json, secrets: [db, db]}  #!",
        "[sidecar.files]\nx = {format = 'json', secrets = ['db', 'db']}  #!",
    ),
    sidecar(
        "a password among the constants",
        "files.x.values.DB_PASSWORD",
        "secrets never stand in the configuration",
        "name it under secrets",
        "files:\n  x: {format: dotenv, secrets: {U: user}, values: {DB_PASSWORD: hunter2}}  #!",
        "[sidecar.files]\n"
        "x = {format = 'dotenv', secrets = {U = 'user'}, values = {DB_PASSWORD = 'hunter2'}}  #!",
    ),
    sidecar(
        "a login in a constant",
        "files.x.values.URL",
        "secrets never stand in the configuration",
        "name it under secrets",
        "files:\n  x: {format: json, secrets: [db], values: {URL: 'redis://:pw@host'}}  #!",
        "[sidecar.files]\n"
        "x = {format = 'json', secrets = ['db'], values = {URL = 'redis://:pw@host'}}  #!",
    ),
    sidecar(
        "a key that a format does not have",
        "files.x",
        "pgpass has no 'db'",
        "the keys are password, host",
        "files:\n  x: {format: pgpass, secrets: [db]}  #!",
        "[sidecar.files]\nx = {format = 'pgpass', secrets = ['db']}  #!",
    ),
    sidecar(
        "a key that a format needs",
        "files.x",
        "netrc needs 'machine'",
        "add it under secrets",
        "files:\n  x: {format: netrc, secrets: {login: user, password: db}}  #!",
        "[sidecar.files]\nx = {format = 'netrc', secrets = {login = 'user', password = 'db'}}  #!",
    ),
    sidecar(
        "a secret and a constant of one key",
        "files.x",
        "'user' is a secret and a value",
        "keep one of them",
        "files:\n  x: {format: json, secrets: [user], values: {user: app}}  #!",
        "[sidecar.files]\nx = {format = 'json', secrets = ['user'], values = {user = 'app'}}  #!",
    ),
    sidecar(
        "a password file that its group may read",
        "files.x",
        "readers of pgpass ignore a file that its group may read",
        'mode: "0400"',
        "files:\n  x: {format: pgpass, secrets: {password: db}, mode: '0440'}  #!",
        "[sidecar.files]\nx = {format = 'pgpass', secrets = {password = 'db'}, mode = '0440'}  #!",
    ),
    sidecar(
        "a password file that others are granted",
        "files.x",
        "readers of pgpass ignore a file that others are granted",
        "leave out readers",
        "files:\n  x: {format: pgpass, secrets: {password: db}, readers: [10002]}  #!",
        "[sidecar.files]\nx = {format = 'pgpass', secrets = {password = 'db'}, readers = [10002]}  #!",
    ),
    sidecar(
        "a dialect of another format",
        "files.x",
        "dialect without dotenv",
        "format: dotenv",
        "files:\n  x: {format: json, secrets: [db], dialect: shell}  #!",
        "[sidecar.files]\nx = {format = 'json', secrets = ['db'], dialect = 'shell'}  #!",
    ),
    sidecar(
        "a section that would end its line",
        "files.x.section",
        "no name of a section",
        "use letters",
        "files:\n  x: {format: my.cnf, secrets: {user: db}, section: 'a]'}  #!",
        "[sidecar.files]\nx = {format = 'my.cnf', secrets = {user = 'db'}, section = 'a]'}  #!",
    ),
    sidecar(
        "an unknown check",
        "files.x.validate",
        "not one of the words known here",
        "write 'key_matches_certificate' or 'json'",
        "files:\n  x: {secret: db, validate: jsn}  #!",
        "[sidecar.files]\nx = {secret = 'db', validate = 'jsn'}  #!",
    ),
    sidecar(
        "a check against a file that is none",
        "files.x.validate",
        "no file of this name",
        "files are x",
        "files:\n  x: {secret: db, validate: {key_matches_certificate: tls.crt}}  #!",
        "[sidecar.files]\nx = {secret = 'db', validate = {key_matches_certificate = 'tls.crt'}}  #!",
    ),
    sidecar(
        "a check whose program is looked up",
        "files.x.validate.exec",
        "the program is not an absolute path",
        "write it in full",
        "files:\n  x: {secret: db, validate: {exec: [check]}}  #!",
        "[sidecar.files]\nx = {secret = 'db', validate = {exec = ['check']}}  #!",
    ),
    sidecar(
        "an unknown key of a check",
        "files.x.validate[1].timout",
        "unknown key",
        "did you mean 'timeout'?",
        "files:\n  x: {secret: db, validate: [json, {exec: [/c], timout: 1s}]}  #!",
        "[sidecar.files]\nx = {secret = 'db', validate = ['json', {exec = ['/c'], timout = '1s'}]}  #!",
    ),
    sidecar(
        "several secrets in a raw file",
        "files.x",
        "raw is one secret as it is",
        "name it with secret",
        "files:\n  x: {format: raw, secrets: [db, user]}  #!",
        "[sidecar.files]\nx = {format = 'raw', secrets = ['db', 'user']}  #!",
    ),
    sidecar(
        "values without a format",
        "files.x",
        "values without a format",
        "leave them out",
        "files:\n  x: {secret: db, values: {a: b}}  #!",
        "[sidecar.files]\nx = {secret = 'db', values = {a = 'b'}}  #!",
    ),
    sidecar(
        "an unknown format",
        "files.x.format",
        "not one of the words known here",
        "'json'",
        "files:\n  x: {format: jsn, secrets: [db]}  #!",
        "[sidecar.files]\nx = {format = 'jsn', secrets = ['db']}  #!",
    ),
    *(
        sidecar(
            f"a file called {name}",
            f'files."{name}"',
            cause,
            remedy,
            f"files:\n  {name}: {{secret: db}}  #!",
            f"[sidecar.files]\n'{name}' = {{secret = 'db'}}  #!",
        )
        for name, cause, remedy in [
            ("../x", "the name has a part that begins with '..'", "rename it"),
            ("a/../x", "the name has a part that begins with '..'", "rename it"),
            ("/etc/x", "the name is absolute", "relative to the target"),
            ("./x", "the name has an empty part or '.' in it", "write 'x'"),
        ]
    ),
    sidecar(
        "a file that is a directory as well",
        "files.x",
        "the name is also the directory of other files",
        "rename one of them",
        "files:\n  x: {secret: db}  #!\n  x/y: {secret: db}",
        "[sidecar.files]\nx = {secret = 'db'}  #!\n'x/y' = {secret = 'db'}",
    ),
    sidecar(
        "a hook without a kind",
        "on_change[1]",
        "not one kind of hook",
        "write exactly one of the keys exec, signal and http",
        "on_change:\n- {http: 'http://127.0.0.1'}\n- {timeout: 3s}  #!",
        "[[sidecar.on_change]]\nhttp = 'http://127.0.0.1'\n[[sidecar.on_change]]  #!\ntimeout = 3",
    ),
    sidecar(
        "a hook of two kinds",
        "on_change[0]",
        "not one kind of hook",
        "exactly one",
        "on_change:\n- {exec: [/bin/true], http: 'http://127.0.0.1'}  #!",
        "on_change = [{exec = ['/bin/true'], http = 'http://127.0.0.1'}]  #!",
    ),
    sidecar(
        "a program to look for in the PATH",
        "on_change[0].exec",
        "not an absolute path",
        "write it in full",
        "on_change:\n- exec: [reload]  #!",
        "[[sidecar.on_change]]\nexec = ['reload']  #!",
    ),
    sidecar(
        "a line for a shell",
        "on_change[0].exec",
        "text where a list is needed",
        "write a list",
        "on_change:\n- exec: /bin/reload all  #!",
        "[[sidecar.on_change]]\nexec = '/bin/reload all'  #!",
    ),
    sidecar(
        "no program at all",
        "on_change[0].exec",
        "no program",
        "write [/usr/bin/NAME",
        "on_change:\n- exec: []  #!",
        "[[sidecar.on_change]]\nexec = []  #!",
    ),
    sidecar(
        "an unknown signal",
        "on_change[0].signal",
        "no signal",
        "for example HUP",
        "on_change:\n- pid_file: /run/x\n  signal: HANGUP  #!",
        "[[sidecar.on_change]]\npid_file = '/run/x'\nsignal = 'HANGUP'  #!",
    ),
    sidecar(
        "a signal to nobody",
        "on_change[0]",
        "a signal to nobody, or to two",
        "write exactly one of pid_file: /run/app.pid and process: NAME",
        "on_change:\n- signal: HUP  #!",
        "[[sidecar.on_change]]  #!\nsignal = 'HUP'",
    ),
    sidecar(
        "a URL with a password",
        "on_change[0].http",
        "a URL that holds a user name",
        "write http://127.0.0.1:PORT/PATH",
        f"on_change:\n- http: http://app:{CANARY}@127.0.0.1/  #!",
        f"[[sidecar.on_change]]\nhttp = 'http://app:{CANARY}@127.0.0.1/'  #!",
    ),
    sidecar(
        "a URL of another machine",
        "on_change[0].http",
        "a web server on another machine",
        "unix:/run/app.sock:/PATH, or use exec",
        "on_change:\n- http: http://127.0.0.1.example.com/  #!",
        "[[sidecar.on_change]]\nhttp = 'http://127.0.0.1.example.com/'  #!",
    ),
    sidecar(
        "a URL with TLS",
        "on_change[0].http",
        "no URL of a web server that is asked without TLS",
        "write http://127.0.0.1:PORT/PATH",
        "on_change:\n- http: https://127.0.0.1/  #!",
        "[[sidecar.on_change]]\nhttp = 'https://127.0.0.1/'  #!",
    ),
    sidecar(
        "a Unix socket without a path",
        "on_change[0].http",
        "no address of a Unix socket",
        "unix:/run/app.sock:/PATH",
        "on_change:\n- http: unix:app.sock  #!",
        "[[sidecar.on_change]]\nhttp = 'unix:app.sock'  #!",
    ),
    sidecar(
        "nobody who acknowledges",
        "wait_ack",
        "nobody to wait for",
        "name a consumer",
        "wait_ack: {consumers: []}  #!",
        "wait_ack = {consumers = []}  #!",
    ),
    sidecar(
        "somebody who acknowledges twice",
        "wait_ack",
        "a consumer is listed twice",
        "leave one out",
        "wait_ack: {consumers: [web, {name: web}]}  #!",
        "wait_ack = {consumers = ['web', {name = 'web'}]}  #!",
    ),
    sidecar(
        "a consumer that no request could name",
        "wait_ack.consumers[0].name",
        "no name of a consumer",
        "use up to 64 letters",
        "wait_ack:\n  consumers:\n  - name: 'a b'  #!",
        "[[sidecar.wait_ack.consumers]]\nname = 'a b'  #!",
    ),
    sidecar(
        "a file where another's former content will be",
        'files."DB.previous"',
        "the former content of 'db' has this name",
        "rename this file",
        "files:\n  db: {previous: true}\n  DB.previous: {secret: db}  #!",
        "[sidecar.files]\ndb = {previous = true}\n'DB.previous' = {secret = 'db'}  #!",
    ),
    sidecar(
        "a hook on an unknown file",
        "on_change[0].files[0]",
        "no file of this name",
        "did you mean 'user'? files are db, user",
        "on_change:\n- http: http://127.0.0.1/\n  files: [users]  #!",
        "[[sidecar.on_change]]\nhttp = 'http://127.0.0.1/'\nfiles = ['users']  #!",
    ),
    sidecar(
        "a port alone to listen on",
        "listen.http",
        "no address to listen on",
        'ADDRESS:PORT, for example "127.0.0.1:9100"',
        "listen:\n  http: 9100  #!",
        "listen.http = 9100  #!",
    ),
    sidecar(
        "a name to listen on",
        "listen.http",
        "a name where an address is needed",
        "write it in digits",
        "listen:\n  http: example.com:9100  #!",
        "listen.http = 'example.com:9100'  #!",
    ),
    sidecar(
        "an address that others reach",
        "listen",
        "an address that other machines can reach",
        "http_network: true",
        "listen: {http: '0.0.0.0:9100'}  #!",
        "listen = {http = '0.0.0.0:9100'}  #!",
    ),
    sidecar(
        "names for an address that is not listened on",
        "listen",
        "keys of http without it",
        "add http",
        "listen: {http_hosts: [metrics.example]}  #!",
        "listen = {http_hosts = ['metrics.example']}  #!",
    ),
    sidecar(
        "a host with a port",
        "listen.http_hosts[0]",
        "no name of a machine",
        "without a port",
        "listen: {http: '127.0.0.1:9100', http_hosts: ['x:1']}  #!",
        "listen = {http = '127.0.0.1:9100', http_hosts = ['x:1']}  #!",
    ),
    sidecar(
        "monitors of nothing",
        "listen",
        "monitors without a socket",
        "add socket",
        "listen: {monitors: [1000]}  #!",
        "listen = {monitors = [1000]}  #!",
    ),
    sidecar(
        "a path that is a number",
        "listen.socket",
        "a number where text is needed",
        "put it in quotes",
        "listen:\n  socket: 5  #!",
        "listen.socket = 5  #!",
    ),
    sidecar(
        "a path that is a date",
        "listen.socket",
        "a date or time where text is needed",
        "put it in quotes",
        "listen:\n  socket: 2024-01-17  #!",
        "listen.socket = 2024-01-17  #!",
    ),
    sidecar(
        "an empty path",
        "listen.socket",
        "no path",
        "write the path of a file or directory",
        "listen:\n  socket: ''  #!",
        "listen.socket = ''  #!",
    ),
    sidecar(
        "a program with a NUL in an argument",
        "on_change[0].exec",
        "an argument holds a NUL",
        "remove it",
        'on_change:\n- exec: [/bin/x, "a\\0b"]  #!',
        '[[sidecar.on_change]]\nexec = ["/bin/x", "a\\u0000b"]  #!',
    ),
    sidecar(
        "a switch in quotes",
        "audit.required",
        "text where true or false is needed",
        "write true or false",
        "audit:\n  required: 'yes'  #!",
        "audit.required = 'yes'  #!",
    ),
    sidecar(
        "an unknown word",
        "on_exit",
        "not one of the words known here",
        "write 'keep' or 'wipe'",
        "on_exit: wip  #!",
        "on_exit = 'wip'  #!",
    ),
]


def problems(path: Path, text: str) -> tuple[str, ...]:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    for problem in caught.value.problems:
        assert problem in str(caught.value)
    return caught.value.problems


@pytest.mark.parametrize("suffix", ["yaml", "toml"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_mistake_names_line_key_cause_and_remedy(case: Case, suffix: str, tmp_path: Path) -> None:
    text = getattr(case, suffix)
    line = 1 + [("#!" in line) for line in text.splitlines()].index(True)
    path = tmp_path / f"secretbridge.{suffix}"
    found = problems(path, text)
    here = [problem for problem in found if problem.startswith(f"{path}:{line}: {case.key}: ")]
    assert len(here) == 1, found
    assert case.cause in here[0].partition("; ")[0]
    assert case.remedy in here[0].partition("; ")[2]
    assert CANARY not in "".join(found)
    if "#?" not in text:
        assert found == tuple(here)


@pytest.mark.parametrize("suffix", ["yaml", "toml"])
def test_all_mistakes_of_a_file_are_told_at_once_in_the_order_of_lines(
    suffix: str, tmp_path: Path
) -> None:
    text = {
        "yaml": "stores:\n  eu: {backend: x}\nsecrets:\n  a: 5\n  b: 'file:'\ncache:\n  refrsh: 1\n",
        "toml": "[stores]\neu = {backend = 'x'}\n[secrets]\na = 5\nb = 'file:'\n[cache]\nrefrsh = 1\n",
    }[suffix]
    path = tmp_path / f"c.{suffix}"
    found = problems(path, text)
    assert [problem.removeprefix(f"{path}:").split(": ")[:2] for problem in found] == [
        ["2", "stores.eu.backend"],
        ["4", "secrets.a"],
        ["5", "secrets.b"],
        ["7", "cache.refrsh"],
    ]


def test_a_broken_store_does_not_make_its_references_wrong(tmp_path: Path) -> None:
    text = "stores: {eu: {backend: nonsense}}\nsecrets: {a: 'vault://eu/kv/a#b'}\n"
    (problem,) = problems(tmp_path / "c.yaml", text)
    assert "stores.eu.backend: no such backend" in problem


def test_a_key_that_looks_like_a_value_is_not_shown(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path / "c.yaml", f"? '{CANARY} = $ecret'\n: x\n")
    assert '"...": unknown key' in problem
    assert CANARY not in problem


def test_words_of_a_validator_that_repeat_the_value_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydantic import BaseModel, field_validator

    from secretbridge.backends.file import FileBackend

    class Talkative(BaseModel):
        zone: str

        @field_validator("zone")
        @classmethod
        def _refuse(cls, value: str) -> str:
            raise ValueError(f"{value} is no zone; choose another")

    monkeypatch.setattr(FileBackend, "options_model", classmethod(lambda cls: Talkative))
    (problem,) = problems(tmp_path / "c.yaml", f"stores: {{file: {{zone: {CANARY}}}}}\n")
    assert problem.endswith(
        "stores.file.zone: not accepted here; see the documentation of this key"
    )


def test_the_keys_of_a_plugin_with_several_kinds_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typing import Annotated, Literal

    from pydantic import BaseModel, Field

    from secretbridge.backends.file import FileBackend

    class Cat(BaseModel, extra="forbid"):
        kind: Literal["cat"]
        lives: int = Field(default=9, gt=0)

    class Dog(BaseModel, extra="forbid"):
        kind: Literal["dog"]
        leash: bool = False

    class Zoo(BaseModel):
        pet: Annotated[Cat | Dog, Field(discriminator="kind")]

    monkeypatch.setattr(FileBackend, "options_model", classmethod(lambda cls: Zoo))

    def told(pet: str) -> str:
        (problem,) = problems(tmp_path / "c.yaml", f"stores: {{file: {{pet: {pet}}}}}\n")
        return problem.partition(":1: stores.file.")[2]

    assert told("{}") == "pet: the key 'kind' is missing; it tells which kind this is"
    assert told("{kind: cow}") == "pet: not one of the words known here; write 'cat', 'dog'"
    assert told("{kind: cat, lives: 0}").startswith("pet.lives: it should be greater than 0; ")
    assert told("{kind: dog, leash: 7}").startswith("pet.leash: a number where true or false")
    assert told("{kind: dog, lesh: yes}").startswith("pet.lesh: unknown key; did you mean 'leash'?")
    assert told("{kind: cat, lives: many}").startswith("pet.lives: text where a whole number")


def test_a_long_list_of_names_is_cut(tmp_path: Path) -> None:
    names = "".join(f"  n{number:02}: file:x\n" for number in range(30))
    text = f"secrets:\n{names}sidecar:\n  target: x\n  files: {{zz: {{}}}}\n"
    (problem,) = problems(tmp_path / "c.yaml", text)
    assert problem.endswith("n08, n09 and 20 more")


def test_a_plugin_that_cannot_be_loaded_is_a_mistake_of_its_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr("secretbridge.config._checks.find_scheme", broken)
    (problem,) = problems(tmp_path / "c.yaml", "stores: {eu: {backend: acme}}\n")
    assert "the backend's plugin cannot be loaded (RuntimeError)" in problem


def test_no_mistake_keeps_the_parsers_error_as_its_context(tmp_path: Path) -> None:
    for name, text in [("c.yaml", f"a: {CANARY}: b"), ("c.toml", f"a = {CANARY}")]:
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_config(tmp_path / name)
        assert caught.value.__context__ is None
        assert stat.S_ISREG((tmp_path / name).stat().st_mode)
