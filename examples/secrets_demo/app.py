"""An application that knows nothing of secretbridge: it reads a file whenever it needs the password.

It says on standard output when the password has changed, by a fingerprint that only this process can
make, and never the password.
"""

import hashlib
import hmac
import os
import signal
import sys
import time

PATH = "/run/secretbridge/db_password"
SECONDS = 0.2
KEY = os.urandom(16)


def password():
    """Return the password of this moment."""
    with open(PATH, encoding="utf-8") as file:
        return file.read()


def main():
    """Follow the password until told to stop."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while not os.path.exists(PATH):  # Swarm and podman start everything at once
        time.sleep(SECONDS)
    former = None
    while True:
        fingerprint = hmac.new(KEY, password().encode(), hashlib.sha256).hexdigest()[:12]
        if fingerprint != former:
            print(f"now using the password with the fingerprint {fingerprint}", flush=True)
            former = fingerprint
        time.sleep(SECONDS)


if __name__ == "__main__":
    main()
