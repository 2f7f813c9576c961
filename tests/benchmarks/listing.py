"""What does it cost to list a bucket of very many teachers? Requests, reads at a time, memory.

Run: ``uv run python -m tests.benchmarks.listing --teachers 100000``

A real S3 API (moto's server, in a process of its own) holds as many teacher folders, each with a
card and weights of a few bytes. The repository is listed and all cards are read as a scan reads
them; the server counts what it is asked, how much of it at a time, and what it is asked twice.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

_BUCKET = "teachers"
_CARD = {
    "library_name": "rayxkd",
    "architecture": "small_resnet8",
    "num_features": 128,
    "label_names": [f"class {number}" for number in range(10)],
    "num_classes": 10,
}


class Counting:
    """A WSGI application that counts the requests to another one."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0
        self.asked: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            query = environ["QUERY_STRING"]
            token = query if "list-type" in query else ""
            self.asked[f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {token}"] += 1
        try:
            return list(self._application(environ, start_response))
        finally:
            with self._lock:
                self._now -= 1

    @property
    def told(self) -> dict[str, int]:
        """Requests of each kind, the most at a time, and those that came twice."""
        kinds = Counter(
            "pages of the listing" if "list-type" in key else f"{key.split()[0]} of an object"
            for key in self.asked.elements()
        )
        twice = sum(count > 1 for count in self.asked.values())
        return {**kinds, "at a time": self.most, "asked twice": twice}


def serve(teachers: int, pipe: Connection) -> None:
    """Fill a bucket, serve it, and tell what was asked once the pipe says so."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.create_bucket(_BUCKET, "us-east-1")
    for number in range(teachers):
        folder = f"zoo/{number % 1000:03}/{number:06}"
        card = json.dumps(_CARD | {"license": f"licence {number}"}).encode()
        backend.put_object(_BUCKET, f"{folder}/config.json", card)
        backend.put_object(_BUCKET, f"{folder}/model.safetensors", b"weights")
    counting = Counting(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, counting, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(server.server_port)
    pipe.recv()
    pipe.send(counting.told)


def main() -> None:
    """List the bucket and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teachers", type=int, default=100_000)
    arguments = parser.parse_args()
    pipe, other = get_context("spawn").Pipe()
    server = get_context("spawn").Process(target=serve, args=(arguments.teachers, other))
    server.start()
    try:
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{pipe.recv()}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        _measure(arguments.teachers, pipe)
    finally:
        server.terminate()
        server.join()


def _measure(teachers: int, pipe: Connection) -> None:
    from rayxkd.teachers import RejectedCard, open_repositories

    (repository,) = open_repositories([f"s3://{_BUCKET}/zoo"])
    reports: list[tuple[int, int]] = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    cards = repository.cards(lambda done, total: reports.append((done, total)))
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    pipe.send("end")
    assert len({card.teacher for card in cards}) == teachers
    assert not any(isinstance(card, RejectedCard) for card in cards)
    asked = ", ".join(f"{count:,} {kind}" for kind, count in pipe.recv().items())
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores: {teachers:,} cards in "
        f"{seconds:.0f} s, {memory / 2**10:,.0f} MiB; progress was told {len(reports)} times; "
        f"requests: {asked}"
    )


if __name__ == "__main__":
    main()
