"""Variables that an image knows, where their names alone would not tell.

Each line is from the image's own documentation.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["repository", "score"]

_KNOWN: tuple[tuple[str, str, float], ...] = (
    # image (its last parts), variable, how likely a secret
    (r"postgres\w*|postgis|pgvector|timescaledb\S*|supabase", r"POSTGRES(QL)?_PASSWORD|"
     r"PGPASSWORD", 0.99),
    (r"mysql|mariadb|percona\S*", r"(MYSQL|MARIADB)_(ROOT_)?PASSWORD(_HASH)?", 0.99),
    (r"mongo|mongodb\S*", r"MONGO(DB)?_(INITDB_)?ROOT_PASSWORD", 0.99),
    (r"neo4j", r"NEO4J_AUTH", 0.97),
    (r"minio|minio-\S+", r"MINIO_(ROOT_PASSWORD|SECRET_KEY|ACCESS_KEY)", 0.97),
    (r"rabbitmq\S*", r"RABBITMQ_(DEFAULT_PASS|ERLANG_COOKIE)", 0.99),
    (r"influxdb", r"DOCKER_INFLUXDB_INIT_(PASSWORD|ADMIN_TOKEN)|INFLUXDB_\w*(PASSWORD|"
     r"TOKEN)", 0.99),
    (r"plex|pms-docker", r"PLEX_CLAIM", 0.95),
    (r"pihole", r"WEBPASSWORD|FTLCONF_webserver_api_password", 0.99),
    (r"mailpit", r"MP_(SMTP|UI)_AUTH", 0.9),
    (r"docker-transmission-openvpn|gluetun", r"OPENVPN_PASSWORD|WIREGUARD_P\w+_KEY", 0.99),
    (r"redis\S*|valkey|keydb|dragonfly", r"(REDIS|VALKEY)_(PASSWORD|PASS|AUTH)", 0.98),
    (r"(elasticsearch|kibana|logstash)\S*", r"ELASTIC(SEARCH)?_PASSWORD|KIBANA_PASSWORD", 0.99),
    (r"gitlab-ce|gitlab-ee|gitlab", r"GITLAB_OMNIBUS_CONFIG|GITLAB_ROOT_PASSWORD", 0.9),
    (r"traefik", r"TRAEFIK_\w*BASICAUTH\w*USERS", 0.85),
    (r"phpmyadmin", r"PMA_(PASSWORD|CONTROLPASS)|MYSQL_ROOT_PASSWORD", 0.99),
    (r"mssql\S*|azure-sql-edge|server", r"(MSSQL_)?SA_PASSWORD", 0.99),
    (r"minecraft-server", r"RCON_PASSWORD", 0.99),
    (r"turn\w*|coturn", r"(TURN_)?(STATIC_AUTH_)?SECRET", 0.97),
    (r"vaultwarden|server", r"ADMIN_TOKEN", 0.97),
    (r"ollama|litellm", r"LITELLM_MASTER_KEY", 0.97),
    (r"meilisearch", r"MEILI_MASTER_KEY", 0.98),
    (r"typesense", r"TYPESENSE_API_KEY", 0.98),
    (r"watchtower", r"WATCHTOWER_HTTP_API_TOKEN|REPO_PASS|WATCHTOWER_NOTIFICATION_URL", 0.9),
    (r"cloudflared", r"TUNNEL_TOKEN", 0.99),
    (r"tailscale", r"TS_AUTHKEY", 0.99),
    (r"oauth2-proxy", r"OAUTH2_PROXY_(CLIENT_SECRET|COOKIE_SECRET)", 0.99),
    (r"nats\S*", r"NATS_(PASS|TOKEN)\w*", 0.97),
    (r"clickhouse-server", r"CLICKHOUSE_PASSWORD", 0.99),
    (r"mongo-express", r"ME_CONFIG_\w*PASSWORD|ME_CONFIG_MONGODB_URL|"
     r"ME_CONFIG_SITE_\w*SECRET", 0.97),
)  # fmt: skip
_PATTERNS = tuple((re.compile(image), re.compile(name), score) for image, name, score in _KNOWN)


def repository(image: str) -> str:
    """Return the last part of an image's name without registry, tag and digest."""
    name = image.strip().partition("@")[0].rsplit("/", 1)[-1]
    return name.partition(":")[0].lower()


@lru_cache(maxsize=8192)
def _known_by(name: str) -> tuple[tuple[re.Pattern[str], float], ...]:
    """Return the variables that images of this name know. Most know none."""
    return tuple((names, each) for images, names, each in _PATTERNS if images.fullmatch(name))


def score(image: str, variable: str) -> float:
    """Return how likely ``variable`` is a secret because ``image`` is what reads it; 0 if unknown."""
    known = _known_by(repository(image))
    return max((each for names, each in known if names.fullmatch(variable)), default=0.0)
