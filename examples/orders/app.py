"""Asks a database for the number of orders, while the password for it is rotated.

Worth copying: user and password come from one document, so they always belong together. The callback
only sets a flag. The new connection stands before the old one is closed. Nothing printed is a value.

Run as `SECRETBRIDGE_CONFIG=orders.yaml python app.py SOCKET`; SIGTERM ends it.
"""

import json
import signal
import socket
import sys
import threading
import time

import secretbridge


class Connection:
    """Stands for the driver of a real database: one JSON object per line, the login first."""

    def __init__(self, address: str, user: str, password: str) -> None:
        with socket.socket(socket.AF_UNIX) as plug:
            plug.settimeout(5.0)
            plug.connect(address)
            self.lines = plug.makefile("rw", encoding="utf-8")  # keeps the connection open
        self.ask(user=user, password=password)

    def ask(self, **question: str) -> object:
        self.lines.write(json.dumps(question) + "\n")
        self.lines.flush()
        answer = json.loads(self.lines.readline() or '{"error": "connection lost"}')
        if "error" in answer:
            raise ConnectionError(answer["error"])
        return answer["result"]


def log_in(broker: secretbridge.Broker, address: str) -> Connection:
    account = broker.get_many(["db_user", "db_password"])
    return Connection(address, account["db_user"].reveal(), account["db_password"].reveal())


def main(address: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    answered = failed = 0
    rotated = threading.Event()
    with secretbridge.Broker.from_config() as broker:
        broker.on_change("db_password", lambda secret: rotated.set())
        connection = log_in(broker, address)
        print("logged in", flush=True)
        try:
            while True:
                try:
                    if rotated.is_set():
                        rotated.clear()
                        fresh = log_in(broker, address)
                        connection.lines.close()
                        connection = fresh
                        print("the password was rotated: logged in again", flush=True)
                    connection.ask(query="SELECT count(*) FROM orders")
                    answered += 1
                except (OSError, secretbridge.SecretBridgeError) as error:
                    failed += 1
                    rotated.set()  # log in anew, with whatever is current by then
                    print(f"failed: {error}", flush=True)
                time.sleep(0.05)
        finally:
            print(json.dumps({"answered": answered, "failed": failed}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
