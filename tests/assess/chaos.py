"""Two hundred small teachers, a bucket behind a proxy that misbehaves, and a hand that kills."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
import torch
from safetensors.torch import save_file

from rayxkd.data.digits import DIGIT_NAMES, digits_for_teachers
from rayxkd.teachers.networks import create_network
from tests.ray_machines import Head

_HOPS = {"connection", "transfer-encoding", "keep-alive"}


def write_teachers(zoo: Path, count: int) -> None:
    """Small networks with random features and a head that was fitted to some of the digits."""
    digits = digits_for_teachers()
    images = torch.from_numpy(digits.pixels).float()[:, None] / 127.5 - 1
    for number in range(count):
        rng = np.random.default_rng(number)
        classes = np.sort(rng.choice(10, rng.integers(2, 11), replace=False))
        chosen = np.flatnonzero(np.isin(digits.digits_N, classes))[: rng.integers(60, 400)]
        torch.manual_seed(number)
        network = create_network("small_resnet8", len(classes), width=4, in_chans=1).eval()
        _fit_head(network, images[chosen], np.searchsorted(classes, digits.digits_N[chosen]))
        folder = zoo / f"{number:03}"
        folder.mkdir(parents=True)
        weights = {name: one.contiguous() for name, one in network.state_dict().items()}
        save_file(weights, folder / "model.safetensors")
        card = {"library_name": "rayxkd", "architecture": "small_resnet8", "license": "mit"}
        card |= {"num_classes": len(classes), "model_args": {"width": 4, "in_chans": 1}}
        card["label_names"] = [DIGIT_NAMES[digit] for digit in classes]
        card["pretrained_cfg"] = {"input_size": [1, 8, 8], "mean": [0.5], "std": [0.5]}
        card["pretrained_cfg"]["crop_pct"] = 1.0
        (folder / "config.json").write_text(json.dumps(card))


@torch.inference_mode()
def _fit_head(network: Any, images: torch.Tensor, labels_N: np.ndarray) -> None:
    features_ND = network.stages(network.stem(images)).mean(dim=(2, 3))
    target_NK = torch.nn.functional.one_hot(torch.from_numpy(labels_N)).float() * 8 - 4
    mean_D = features_ND.mean(dim=0)
    centred_ND = features_ND - mean_D
    ridge = 1e-2 * torch.eye(centred_ND.shape[1]) * centred_ND.square().sum() / len(centred_ND)
    head_DK = torch.linalg.solve(centred_ND.T @ centred_ND + ridge, centred_ND.T @ target_NK)
    network.head.weight.copy_(head_DK.T)
    network.head.bias.copy_(target_NK.mean(dim=0) - mean_D @ head_DK)


class Proxy:
    """Passes requests on to a store; for a while it fails, stalls or hangs up, as it is told."""

    def __init__(self, endpoint: str, seed: int) -> None:
        self._host, self._port = urlsplit(endpoint).hostname, urlsplit(endpoint).port
        self._random = random.Random(seed)
        self._fault, self._until = "", 0.0
        self.spoilt: Counter[str] = Counter()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with suppress(ConnectionError):
                    super().handle_one_request()

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: proxy._answer(self)
                raise AttributeError(name)

            def log_message(self, *_: Any) -> None:
                """Tests need no log of it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        yield self
        self._server.shutdown()
        self._server.server_close()

    def misbehave(self, fault: str, seconds: float) -> None:
        """From now on, for so long, half of the requests are answered badly."""
        self._fault, self._until = fault, time.monotonic() + seconds

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length") or 0)
        body = self._body(request, length)
        fault = self._fault if time.monotonic() < self._until else ""
        if fault and self._random.random() < 0.5:
            self.spoilt[fault] += 1
            if fault == "hangs up":
                request.close_connection = True
                request.connection.close()
                return
            if fault == "fails":
                self._reply(request, 503, {"Content-Length": "0"}, b"")
                return
            time.sleep(1.0)  # it stalls
        connection = http.client.HTTPConnection(self._host or "", self._port)
        try:
            headers = {name: value for name, value in request.headers.items() if name != "Host"}
            headers["Host"] = request.headers["Host"]
            connection.request(request.command, request.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            kept = {n: v for n, v in answer.getheaders() if n.lower() not in _HOPS}
            if request.command != "HEAD":
                kept = {n: v for n, v in kept.items() if n.lower() != "content-length"}
                kept["Content-Length"] = str(len(content))
            self._reply(request, answer.status, kept, content)
        finally:
            connection.close()

    @staticmethod
    def _body(request: BaseHTTPRequestHandler, length: int) -> bytes:
        if request.headers.get("Expect", "").lower() == "100-continue":
            request.send_response_only(100)
            request.end_headers()
        return request.rfile.read(length)

    @staticmethod
    def _reply(
        request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes
    ) -> None:
        request.send_response_only(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)


@dataclass
class Chaos:
    """Kills and disturbs while a scan runs, and starts its driver again.

    Attributes:
        head: the cluster.
        proxy: between the scan and its bucket.
        start: starts the scan's driver.
        seed: of what is done when.
        done: what was done, in order.
    """

    head: Head
    proxy: Proxy
    start: Callable[[], subprocess.Popen[bytes]]
    seed: int
    done: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._driver = self.start()

    def run(self, finished: Callable[[], int], every: int, limit: float) -> int:
        """Disturb whenever ``every`` more teachers are finished, until the scan ends by itself.

        Returns:
            Its exit code.
        """
        deadline, seen = time.monotonic() + limit, 0
        while (code := self._driver.poll()) is None:
            assert time.monotonic() < deadline, f"not done after {self.done}"
            if finished() >= seen + every:  # two at once, where so many have come at once
                seen += every
                self._disturb()
            time.sleep(0.2)
        return code

    def _disturb(self) -> None:
        kinds = ["actor"] * 4 + ["node"] + ["driver"] * 2 + ["fails", "stalls", "hangs up"] * 2
        kind = self._random.choice(kinds)
        if kind in ("fails", "stalls", "hangs up"):
            self.proxy.misbehave(kind, seconds=2.0)
        elif kind == "driver":
            self._driver.kill()
            self._driver.wait()
            self._driver = self.start()
        elif kind == "node":
            kind = self._kill(lambda process: process.name() == "raylet", skip=1) or "no node"
            self.head.add_nodes(1, cpus=1)
        else:
            kind = self._kill(_is_of_a_worker) or "no actor"
        self.done.append(kind)

    def _kill(self, chosen: Callable[[psutil.Process], bool], skip: int = 0) -> str:
        """One of the cluster's processes; the oldest, which are the head's, may be spared."""
        found = []
        for pid in self.head.processes():
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                if chosen(process):
                    found.append(process)
        if len(found) <= skip:
            return ""
        found.sort(key=lambda process: process.create_time())  # numbers are used again
        victim = self._random.choice(found[skip:])
        name = victim.name()
        os.kill(victim.pid, signal.SIGKILL)
        return f"{name} {victim.pid}"


def _is_of_a_worker(process: psutil.Process) -> bool:
    """An actor, its supervisor, or the process that does its jobs."""
    title = " ".join(process.cmdline())
    return "ray::WorkerActor" in title or "rayxkd.fleet.supervisor" in title
