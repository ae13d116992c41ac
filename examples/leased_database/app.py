"""Counts orders in PostgreSQL, as a user that Vault makes for a few seconds at a time.

Worth copying: user and password are two names of one document, so they always belong together. The pool
replaces its connections when there is another user, while the former one may still log in. Nothing here
knows of leases, and nothing that is printed is a value.

Run as `SECRETBRIDGE_CONFIG=secretbridge.yaml python app.py "host=127.0.0.1 dbname=orders"`; SIGTERM ends
it. The password of a user is checked when a connection is made, so each worker also makes new ones.
"""

import json
import signal
import sys
import threading

import psycopg

import secretbridge
from secretbridge.adapters.psycopg import connection_pool

WORKERS = 4
PAUSE = 0.02


class Tally:
    """What the workers have done so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.answered = self.failed = 0
        self.users: set[str] = set()

    def add(self, user: str | None) -> None:
        with self._lock:
            self.answered += user is not None
            self.failed += user is None
            if user is not None:
                self.users.add(user)


def work(pool, tally: Tally, stopping: threading.Event) -> None:
    while not stopping.wait(PAUSE):
        try:
            with pool.connection(timeout=5.0) as connection:
                query = "SELECT current_user, count(*) FROM orders"
                user, _ = connection.execute(query).fetchone()
            tally.add(user)
        except (psycopg.Error, secretbridge.SecretBridgeError) as error:
            tally.add(None)
            print(f"failed: {type(error).__name__}: {error}", flush=True)


def main(address: str) -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    tally = Tally()
    with (
        secretbridge.Broker.from_config() as broker,
        connection_pool(
            "db_password",
            address,
            user="db_user",
            broker=broker,
            min_size=2,
            max_size=WORKERS,
            max_lifetime=3.0,  # seconds; short, so that this example logs in often
        ) as pool,
    ):
        workers = [
            threading.Thread(target=work, args=(pool, tally, stopping)) for _ in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        print("working", flush=True)
        for worker in workers:
            worker.join()
    counts = {"answered": tally.answered, "failed": tally.failed, "users": len(tally.users)}
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
