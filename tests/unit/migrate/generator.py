"""Compose files and manifests in the styles that people write; the same for the same seed."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from random import Random

WORDS = [
    "kestrel",
    "lantern",
    "meadow",
    "quarry",
    "orbit",
    "pebble",
    "harbor",
    "thicket",
    "ember",
    "saffron",
]
PLAIN = [("LOG_LEVEL", "info"), ("PORT", "8080"), ("TZ", "Europe/Vienna"), ("WORKERS", "4")]
IMAGES = {
    "postgres:16-alpine": ["POSTGRES_PASSWORD"],
    "docker.io/library/mysql:8.4": ["MYSQL_ROOT_PASSWORD", "MYSQL_PASSWORD"],
    "mariadb": ["MARIADB_ROOT_PASSWORD"],
    "mongo:7": ["MONGO_INITDB_ROOT_PASSWORD"],
    "wordpress:6": ["WORDPRESS_DB_PASSWORD", "WORDPRESS_AUTH_KEY"],
    "grafana/grafana:11.1.0": ["GF_SECURITY_ADMIN_PASSWORD"],
    "registry.local:5000/team/api:3": ["JWT_SECRET", "STRIPE_API_KEY"],
}


@dataclass
class Made:
    text: bytes
    values: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)


class Style:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.step = random.choice([2, 2, 2, 4])
        self.is_indentless = random.random() < 0.3
        self.newline = random.choice(["\n", "\n", "\n", "\r\n"])
        self.has_bom = random.random() < 0.15
        self.ends = random.random() < 0.75
        self.starts = random.choice(["", "", "---\n", "# the services of this host\n\n"])

    def value(self) -> str:
        words = self.random.sample(WORDS, 2)
        return f"{words[0].title()}-{words[1]}{self.random.randrange(1000, 9999)}"

    def quoted(self, text: str) -> str:
        style = self.random.choice(["", "", "'", '"'])
        return f"{style}{text}{style}"

    def comment(self) -> str:
        return self.random.choice(["", "", "", "  # see the wiki", " # käse", " #!"])

    def finish(self, text: str) -> bytes:
        text = self.starts + text
        if not self.ends:
            text = text.rstrip("\n")
        data = text.replace("\n", self.newline).encode()
        return b"\xef\xbb\xbf" + data if self.has_bom else data


def compose(seed: int) -> Made:
    random = Random(seed)
    style = Style(random)
    made = Made(b"")
    i = " " * style.step
    dash = "- "
    inner = i * 2
    lines = [random.choice(['version: "3.8"', "name: shop", "x-any: {a: 1}"]), "", "services:"]
    names = random.sample(list(IMAGES), random.randrange(1, 4))
    for number, image in enumerate(names):
        lines += [f"{i}svc{number}:{style.comment()}", f"{i * 2}image: {style.quoted(image)}"]
        entries = [(name, style.value(), True) for name in IMAGES[image]]
        entries += [
            (name, value, False) for name, value in random.sample(PLAIN, random.randrange(3))
        ]
        random.shuffle(entries)
        for name, value, is_secret in entries:
            if is_secret:
                made.values.append(value)
                made.names.add(name)
        form = random.choice(["map", "map", "list", "flow"])
        if form == "map":
            lines.append(f"{i * 2}environment:{style.comment()}")
            for name, value, is_secret in entries:
                shown = style.quoted(value) if is_secret else f'"{value}"'
                lines.append(f"{i * 3}{name}:{random.choice([' ', '  '])}{shown}{style.comment()}")
                if random.random() < 0.2:
                    lines.append(f"{i * 3}# about {name.lower()}")
        elif form == "list":
            lines.append(f"{i * 2}environment:")
            depth = inner if style.is_indentless else i * 3
            for name, value, _ in entries:
                lines.append(f"{depth}{dash}{style.quoted(f'{name}={value}')}{style.comment()}")
        else:
            joined = ", ".join(f"{name}: {style.quoted(value)}" for name, value, _ in entries)
            lines.append(f"{i * 2}environment: {{{joined}}}")
        depth = inner if style.is_indentless else i * 3
        if random.random() < 0.5:
            lines += [f"{i * 2}volumes:", f"{depth}- data{number}:/data{style.comment()}"]
        if number and random.random() < 0.6:
            lines += random.choice(
                [
                    [f"{i * 2}depends_on: [svc0]"],
                    [f"{i * 2}depends_on:", f"{depth}- svc0{style.comment()}"],
                    [f"{i * 2}depends_on:", f"{i * 3}svc0: {{condition: service_healthy}}"],
                ]
            )
        if random.random() < 0.3:
            lines.append("")
        if random.random() < 0.3:
            lines.append(f"{i * 2}restart: always  ")
    tail = random.choice(["", "none", "volumes", "networks"])
    if tail == "volumes":
        lines += ["", "volumes:", f"{i}data0:", f"{i}data1: {{}}", f"{i}data2:"]
    elif tail == "networks":
        lines += ["networks:", f"{i}default: {{driver: bridge}}"]
    made.text = style.finish("\n".join(lines) + "\n")
    return made


def manifest(seed: int) -> Made:
    random = Random(seed)
    style = Style(random)
    made = Made(b"")
    depth = "" if style.is_indentless else "  "
    documents = []
    keys: list[tuple[str, str]] = []
    has_secret = random.random() < 0.6
    image = random.choice(list(IMAGES))
    keys += [(name, style.value()) for name in IMAGES[image]]
    if random.random() < 0.4:
        keys.append(("SMTP_PASSWORD", style.value()))
    made.values = [value for _, value in keys]
    made.names = {name for name, _ in keys}
    if has_secret:
        field_name = random.choice(["stringData", "data"])
        lines = ["apiVersion: v1", "kind: Secret", "metadata:", "  name: creds", f"{field_name}:"]
        for name, value in keys:
            shown = (
                b64encode(value.encode()).decode() if field_name == "data" else style.quoted(value)
            )
            lines.append(f"  {name}: {shown}{style.comment()}")
        lines.append("type: Opaque")
        documents.append("\n".join(lines))
    kind = random.choice(["Deployment", "StatefulSet", "CronJob", "Pod"])
    head = [f"apiVersion: {'v1' if kind == 'Pod' else 'apps/v1'}", f"kind: {kind}"]
    head += ["metadata:", "  name: shop", "spec:"]
    base = "  "
    if kind == "CronJob":
        head += ["  schedule: '5 4 * * *'", "  jobTemplate:", "    spec:", "      template:"]
        head.append("        spec:")
        base = " " * 10
    elif kind != "Pod":
        head += ["  template:", "    metadata: {labels: {app: shop}}", "    spec:"]
        base = " " * 6
    body = [f"{base}containers:"]
    item = base + depth
    body += [f"{item}- name: main{style.comment()}", f"{item}  image: {style.quoted(image)}"]
    body.append(f"{item}  env:")
    more = item + "  " + depth
    entries: list[list[str]] = []
    for name, value in keys:
        if has_secret and random.random() < 0.5:
            entries.append([f"- name: {name}", "  valueFrom:", "    secretKeyRef:"])
            entries[-1] += ["      name: creds", f"      key: {name}"]
        elif has_secret:
            entries.append([f"- name: {name}", "  valueFrom:"])
            entries[-1] += [f"    secretKeyRef: {{name: creds, key: {name}}}{style.comment()}"]
        else:
            entries.append([f"- name: {name}{style.comment()}", f"  value: {style.quoted(value)}"])
    entries += [[f"- name: {n}", f'  value: "{v}"'] for n, v in random.sample(PLAIN, 2)]
    random.shuffle(entries)
    body += [more + line for entry in entries for line in entry]
    if random.random() < 0.4:
        body += [f"{item}  volumeMounts:", f"{more}- {{name: data, mountPath: /data}}"]
        body += [f"{base}volumes:", f"{item}- name: data", f"{item}  emptyDir: {{}}"]
    if random.random() < 0.3:
        body.append(f"{base}securityContext: {{runAsNonRoot: true}}")
    documents.append("\n".join(head + body))
    if random.random() < 0.3:
        documents.reverse()
    made.text = style.finish("\n---\n".join(documents) + "\n")
    return made
