"""A client of Redis: ``python with_redis.py cache 6379``."""

import sys

import redis

from secretbridge.adapters.redis import client_options

options = client_options("password", username="app")
client = redis.Redis(host=sys.argv[1], port=int(sys.argv[2]), decode_responses=True, **options)
for _ in sys.stdin:  # at each line of input, a command over a new connection
    client.connection_pool.disconnect()
    print(client.acl_whoami(), flush=True)
