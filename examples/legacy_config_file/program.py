"""A program from before: it reads its password from an INI file, and reads that again on SIGHUP.

It was written long ago, and nobody is going to change it.
"""

import configparser
import hashlib
import os
import signal
import sys
import time

FILE = sys.argv[1]
PID_FILE = sys.argv[2]
fingerprint = ""


def load(*_):
    """Read the file, and say which password is in use without telling it."""
    global fingerprint
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(FILE)
    password = parser["database"]["password"]
    fingerprint = hashlib.sha256(password.encode()).hexdigest()[:12]
    print(
        f"user {parser['database']['user']}, password with the fingerprint {fingerprint}",
        flush=True,
    )


def main():
    """Work until told to stop."""
    signal.signal(signal.SIGHUP, load)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    load()
    with open(PID_FILE, "w", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
