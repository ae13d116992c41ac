"""A cached ``get`` beside ``os.environ[...]``, which it replaces, and beside the caches of its peers.

Also: whether the time of one get stays the same when eight threads get at once, and what a thousand
cached secrets take in memory.
"""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from timeit import Timer

import secretbridge
from secretbridge.testing import FakeBackend

from ._measure import Figure, interleaved, main, private_folder, ratio, seconds
from ._stub_aws import SECRET, secrets_manager

_ROUNDS = 31
_CALLS = 50_000
_PEER_CALLS = 2_000
_VARIABLE = "SECRETBRIDGE_BENCHMARK"
_BARS = {"Broker.get": 0.7, "secretbridge.get": 1.0}


def measure() -> Iterator[Figure]:
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(dir=private_folder()))
        path = Path(folder, "secret")
        path.write_text(SECRET)
        reference = f"file:{path}"
        os.environ[_VARIABLE] = SECRET
        os.environ["SECRETBRIDGE_CONFIG"] = _configuration(folder, reference)
        broker = stack.enter_context(secretbridge.Broker(stores={}, secrets={"x": reference}))
        broker.get("x")
        yield from _beside_environ(broker, reference)
        yield from _beside_peers(broker)
        yield from _in_threads(broker)
    yield from _memory()


def _configuration(folder: str, reference: str) -> str:
    path = Path(folder, "secretbridge.yaml")
    path.write_text(f"secrets: {{x: '{reference}'}}\n")
    return str(path)


def _beside_environ(broker: secretbridge.Broker, reference: str) -> Iterator[Figure]:
    names = {
        "get": broker.get,
        "module": secretbridge,
        "environ": os.environ,
        "handle": broker.handle("x"),
        "reference": reference,
    }
    statements = {
        "environ": f"environ[{_VARIABLE!r}]",
        "Broker.get": "get('x')",
        "secretbridge.get": "module.get('x')",
        "get by reference": "get(reference)",
        "get and reveal": "get('x').reveal()",
        "handle.secret": "handle.secret",
        "handle.reveal": "handle.reveal()",
    }
    for statement in statements.values():
        eval(statement, names)
    cases = {
        name: partial(Timer(statement, globals=names).timeit, _CALLS)
        for name, statement in statements.items()
    }
    times = interleaved(cases, _ROUNDS)
    nanoseconds = {name: median(found) / _CALLS * 1e9 for name, found in times.items()}
    for name in statements:
        if name != "environ":
            yield Figure(
                name,
                ratio(times[name], times["environ"]),
                _BARS.get(name),
                f"of os.environ[...]: {nanoseconds[name]:.0f} ns to {nanoseconds['environ']:.0f}",
            )


def _beside_peers(broker: secretbridge.Broker) -> Iterator[Figure]:
    try:
        import aws_secretsmanager_caching
        import boto3
        from aws_lambda_powertools.utilities import parameters
    except ModuleNotFoundError as error:
        yield Figure("beside peers", None, details=f"{error.name} is not installed")
        return
    with secrets_manager() as endpoint:
        client = boto3.client(
            "secretsmanager",
            endpoint_url=endpoint,
            region_name="eu-west-1",
            aws_access_key_id="bench",
            aws_secret_access_key="bench",
        )
        powertools = parameters.SecretsProvider(boto3_client=client)
        cache = aws_secretsmanager_caching.SecretCache(client=client)
        peers: dict[str, tuple[float, Callable[[], object]]] = {
            "Powertools parameters": (10, lambda: powertools.get("bench", max_age=3600)),
            "aws-secretsmanager-caching": (100, lambda: cache.get_secret_string("bench")),
        }
        assert {peer() for _, peer in peers.values()} == {SECRET}
        cases = {"ours": partial(Timer(lambda: broker.get("x")).timeit, _PEER_CALLS)}
        cases |= {
            name: partial(Timer(peer).timeit, _PEER_CALLS) for name, (_, peer) in peers.items()
        }
        times = interleaved(cases, _ROUNDS)
    nanoseconds = {name: median(found) / _PEER_CALLS * 1e9 for name, found in times.items()}
    for name, (bar, _) in peers.items():
        found = ratio(times["ours"], times[name])
        yield Figure(
            f"Broker.get beside {name}",
            found,
            1 / bar,
            f"{1 / found:.0f} x as fast: {nanoseconds['ours']:.0f} ns to {nanoseconds[name]:.0f}",
        )


def _in_threads(broker: secretbridge.Broker) -> Iterator[Figure]:
    def get_often(calls: int) -> None:
        get = broker.get
        for _ in range(calls):
            get("x")

    def together(count: int) -> None:
        threads = [
            threading.Thread(target=get_often, args=(_CALLS * 8 // count,)) for _ in range(count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    counts = (1, 2, 4, 8)
    times = interleaved({str(n): seconds(partial(together, n)) for n in counts}, _ROUNDS)
    for count in counts[1:]:
        each = median(times[str(count)]) / (_CALLS * 8) * 1e9
        yield Figure(
            f"Broker.get in {count} threads",
            ratio(times[str(count)], times["1"]),
            1.25,
            f"of the time in one thread, for as many gets: {each:.0f} ns each",
        )


def _memory() -> Iterator[Figure]:
    """What Python allocates for a thousand documents of one secret each."""
    store = FakeBackend()
    for number in range(1000):
        store.put(f"app/service-{number:04}/password", f"{number:032}")
    secrets = {f"service_{n:04}_password": f"fake:app/service-{n:04}/password" for n in range(1000)}
    gc.collect()
    tracemalloc.start()
    with secretbridge.Broker({"fake": store}, secrets) as broker:
        names = tracemalloc.get_traced_memory()[0]
        broker.prefetch()
        store.batches.clear()
        store.fetched.clear()
        gc.collect()
        everything = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    yield Figure(
        "1000 cached secrets",
        (everything - names) / 1e6,
        1,
        f"of 32 characters; their names and references are {names / 1e6:.2g} MB more",
        "MB",
    )


if __name__ == "__main__":
    main(measure)
