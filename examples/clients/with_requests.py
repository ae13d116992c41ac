"""A session of an API: ``python with_requests.py https://api.example.com/``."""

import sys

from secretbridge.adapters.http import requests_session

with requests_session("password") as session:
    for _ in sys.stdin:  # at each line of input, a request
        print(session.get(sys.argv[1]).status_code, flush=True)
