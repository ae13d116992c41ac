"""A client of an API: ``python with_httpx.py https://api.example.com/``."""

import sys

from secretbridge.adapters.http import httpx_client

with httpx_client("password") as client:
    for _ in sys.stdin:  # at each line of input, a request
        print(client.get(sys.argv[1]).status_code, flush=True)
