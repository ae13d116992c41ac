"""A connection of kombu: ``python with_kombu.py amqp://app@queue:5672//``."""

import sys

import kombu

from secretbridge.adapters.kombu import connection_options

for _ in sys.stdin:  # at each line of input, a new connection
    with kombu.Connection(sys.argv[1], **connection_options("password")) as connection:
        connection.connect()
        print(connection.connected, flush=True)
