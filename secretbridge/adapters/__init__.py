"""Clients and frameworks that keep working while their credentials are rotated.

One module for each: ``psycopg``, ``sqlalchemy``, ``redis``, ``http``, ``tls``, ``django``, ``flask``,
``kombu``, ``pika``, ``boto3``, ``libpq``. Each imports its client library, so it is imported where that
library is used, and nothing of it at ``import secretbridge``.

All of them log in by one rule (:mod:`._login`): the current value first; when it is refused, a newer one
that is looked for at once, or the former one within its grace; all that within a deadline, and what is
raised in the end shows no value.
"""
