"""A connection to RabbitMQ: ``python with_pika.py queue 5672``."""

import sys

import pika

from secretbridge.adapters.pika import RotatingCredentials, blocking_connection

credentials = RotatingCredentials("password", "app")
parameters = pika.ConnectionParameters(sys.argv[1], int(sys.argv[2]), credentials=credentials)
for _ in sys.stdin:  # at each line of input, a new connection
    connection = blocking_connection(parameters)
    print(connection.is_open, flush=True)
    connection.close()
