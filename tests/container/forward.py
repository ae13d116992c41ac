"""Passes connections on: from a port in a network of containers to a store that stays on the host.

    python3 forward.py tcp:8200 unix:/run/store/vault.sock      in a container, under the store's name
    python3 forward.py unix:/tmp/x/vault.sock tcp:40123         on the host, to a port of loopback

So the store listens on loopback and nowhere else, and TLS goes from the sidecar to the store itself.
"""

import os
import selectors
import socket
import sys
import threading


def listen(place):
    kind, _, name = place.partition(":")
    if kind == "unix":
        if os.path.exists(name):
            os.unlink(name)
        server = socket.socket(socket.AF_UNIX)
        server.bind(name)
        os.chmod(name, 0o666)
    else:
        server = socket.create_server(("0.0.0.0", int(name)))
    server.listen(64)
    return server


def connect(place):
    kind, _, name = place.partition(":")
    if kind == "unix":
        client = socket.socket(socket.AF_UNIX)
        client.connect(name)
        return client
    return socket.create_connection(("127.0.0.1", int(name)))


def pass_on(one, place):
    with one:
        try:
            other = connect(place)
        except OSError:
            return
        with other, selectors.DefaultSelector() as ready:
            ready.register(one, selectors.EVENT_READ, other)
            ready.register(other, selectors.EVENT_READ, one)
            while True:
                for key, _ in ready.select():
                    try:
                        data = key.fileobj.recv(65536)
                        if not data:
                            return
                        key.data.sendall(data)
                    except OSError:
                        return


def main(source, target):
    with listen(source) as server:
        print("ready", flush=True)
        while True:
            client, _ = server.accept()
            threading.Thread(target=pass_on, args=(client, target), daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
