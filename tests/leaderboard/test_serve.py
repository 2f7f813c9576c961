"""`serve`: a real server on a real leaderboard that grows, and whom it refuses."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pytest
import uvicorn

from rayxkd.console import run_app
from rayxkd.errors import UserError
from rayxkd.leaderboard import Journal, leaderboard_schema
from rayxkd.leaderboard.commands import app
from rayxkd.leaderboard.evidence import EvidenceStore
from rayxkd.leaderboard.serve.app import make_app
from rayxkd.leaderboard.serve.following import Following, Seen
from rayxkd.leaderboard.serve.guard import Guard
from rayxkd.storage import Storage
from tests.leaderboard.builders import ABOUT, METRICS
from tests.leaderboard.explained import CLASSES, evidence, explained_board, probe
from tests.leaderboard.written import SETTINGS, row, write_board, write_search
from tests.pages import SCRIPT, Outline, chromium, faults, opened

SCHEMA = leaderboard_schema(
    METRICS, "nats", {**ABOUT, "settings": SETTINGS, "class_names": CLASSES}
)
TOKEN = "a token + of/mine"
HOUR = 3600.0


@dataclass
class Answer:
    """What a server said."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def line(self) -> str:
        (line,) = self.body.decode().splitlines()
        return line


@dataclass
class Server:
    """A server that listens on the loopback interface."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def get(
        self, path: str = "/", headers: Mapping[str, str] | None = None, **query: Any
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        asked = path + (f"?{urlencode(query)}" if query else "")
        connection.request("GET", asked, headers=dict(headers or {}))
        answer = connection.getresponse()
        found = Answer(answer.status, answer.headers, answer.read())
        connection.close()
        return found


@contextmanager
def serving(
    address: str, every: float = HOUR, host: str = "127.0.0.1", token: str | None = None
) -> Iterator[Server]:
    guarded = Guard(make_app(Following(address, every)), host, token)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(guarded, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield Server(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> str:
    return explained_board(tmp_path_factory.mktemp("serve") / "board").url


@pytest.fixture(scope="module")
def server(board: str) -> Iterator[Server]:
    with serving(board) as found:
        yield found


@pytest.fixture
def growing(tmp_path: Path) -> Path:
    """A scan of which two teachers are finished."""
    folder = tmp_path / "growing"
    journal = Journal(Storage.at(str(folder)))
    journal.begin(SETTINGS)
    for place, name in enumerate(("zoo/one", "zoo/two"), start=1):
        journal.write_part(row(name, float(place), minutes=place), SCHEMA)
    return folder


def grow(folder: Path, name: str, cost: float) -> None:
    """One more teacher is finished, with its evidence."""
    storage = Storage.at(str(folder))
    one = row(name, cost, minutes=9)
    EvidenceStore(storage).write_pictures(probe())
    EvidenceStore(storage).write(evidence(one, np.full(6, cost)))
    Journal(storage).write_part(one, SCHEMA)


# What it answers


def test_the_page_is_the_report_and_links_to_explanations(server: Server) -> None:
    answer = server.get()
    assert answer.status == 200
    outline = Outline(answer.body.decode())
    assert "Take zoo/best." in outline.text
    assert "The scan is finished: 4 teachers." in outline.text
    links = {one["href"] for one in outline.all("a")}
    assert "explain/zoo%2Fbest" in links
    found = server.get("/explain/zoo%2Fbest")
    assert found.status == 200
    assert "Rank 1 of 3." in Outline(found.body.decode()).text
    assert server.get("/explain/best").body == server.get("/explain/best").body
    failed = Outline(server.get("/explain/zoo%2Fbroken").body.decode()).text
    assert "Invalid: it has no rank" in failed
    assert "its card says no" in failed


def test_every_row_links_to_its_explanation(tmp_path: Path) -> None:
    names = ["zoo/a", "zoo/b", "zoo/c", "zoo/d", "zoo/e", "zoo/?x=1#y", f"zoo/{SCRIPT}", "ü 100%"]
    rows = [row(name, 1.0 + place) for place, name in enumerate(names)]
    with serving(write_board(tmp_path / "b", *rows)) as server:
        outline = Outline(server.get().body.decode())
        links = [one["href"] or "" for one in outline.all("a")]
        explained = [link for link in links if link.startswith("explain/")]
        assert explained == [f"explain/{quote(name, safe='')}" for name in names[5:]]
        for name, link in zip(names[5:], explained, strict=True):
            answer = server.get(f"/{link}")
            assert answer.status == 200
            page = Outline(answer.body.decode())
            assert name in page.text
            assert len(page.all("script")) == 1


def test_headers_forbid_what_is_not_needed(server: Server) -> None:
    for path in ("/", "/version", "/explain/best", "/api/rows", "/none"):
        headers = server.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["access-control-allow-origin"] is None
        assert headers["server"] is None or "uvicorn" in headers["server"]
        (policy,) = headers.get_all("content-security-policy") or []
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'unsafe" not in policy


def test_rows_are_chosen_sorted_and_paged(server: Server) -> None:
    everything = server.get("/api/rows").json
    assert everything["total"] == 4
    assert [one["rank"] for one in everything["rows"]] == [1, 2, 3, None]
    page = server.get("/api/rows", sort="-transport_cost", offset=1, limit=1).json
    assert (page["total"], page["offset"]) == (4, 1)
    assert [one["teacher"] for one in page["rows"]] == ["zoo/even"]
    assert server.get("/api/rows", status="invalid").json["total"] == 1
    assert server.get("/api/rows", offset=99).json["rows"] == []


def test_rows_are_chosen_by_a_condition(server: Server) -> None:
    pytest.importorskip("duckdb", reason="needs DuckDB: extra 'query'")
    found = server.get("/api/rows", where="transport_cost > 1").json
    assert [one["teacher"] for one in found["rows"]] == ["zoo/even", "zoo/odd"]
    files = server.get("/api/rows", where="(select count(*) from '/etc/passwd') > 0")
    assert files.status == 400


@pytest.mark.parametrize(
    ("path", "query", "status", "told"),
    [
        ("/api/rows", {"sort": "knd"}, 400, "unknown column 'knd'"),
        ("/api/rows", {"limit": 0}, 400, "limit: "),
        ("/api/rows", {"limit": 10_000}, 400, "limit: "),
        ("/api/rows", {"offset": -1}, 400, "offset: "),
        ("/api/rows", {"status": "fine"}, 400, "unknown status 'fine'"),
        ("/explain/nobody", {}, 404, "there is no teacher 'nobody'"),
        ("/none", {}, 404, "Not Found"),
        ("/docs", {}, 404, "Not Found"),
    ],
)
def test_mistakes_get_one_line(
    server: Server, path: str, query: dict[str, Any], status: int, told: str
) -> None:
    answer = server.get(path, **query)
    assert answer.status == status
    line = answer.json["error"] if path.startswith("/api") else answer.line
    assert told in line
    assert "\n" not in line


# It follows a scan


def at_once(following: Following) -> Seen:
    """What there is now, however long the last look took."""
    following._next = 0.0
    return following.look()


def test_it_reads_again_only_what_has_changed(growing: Path) -> None:
    following = Following(str(growing), 1e-6)
    first = at_once(following)
    assert first.finished == 2
    assert at_once(following) is first
    grow(growing, "zoo/three", 0.5)
    second = at_once(following)
    assert second.finished == 3
    assert second.live.version != first.live.version
    journal = Journal(Storage.at(str(growing)))
    journal.write_table(journal.read_parts(), SCHEMA)
    third = at_once(following)
    assert (third.live.is_done, third.finished) == (True, 3)
    assert third.live.version != second.live.version
    assert at_once(following) is third
    (growing / "leaderboard.parquet").unlink()
    shutil.rmtree(growing / "parts")
    (growing / "scan.json").unlink()
    with pytest.raises(UserError, match="there is no leaderboard"):
        at_once(following)


def test_it_looks_no_more_often_than_it_was_told(growing: Path) -> None:
    following = Following(str(growing), HOUR)
    first = following.look()
    grow(growing, "zoo/three", 0.5)
    assert following.look() is first


def test_before_the_first_teacher_it_waits(tmp_path: Path) -> None:
    Journal(Storage.at(str(tmp_path))).begin(SETTINGS)
    with serving(str(tmp_path), every=1e-6) as server:
        assert server.get("/version").json["finished"] == 0
        assert "No teacher is finished yet." in Outline(server.get().body.decode()).text
        assert server.get("/api/rows").json["rows"] == []
        assert "no teacher is finished yet" in server.get("/explain/best").line
        grow(tmp_path, "zoo/first", 1.0)
        assert server.get("/version").json["finished"] == 1
        text = Outline(server.get().body.decode()).text
        assert "Take zoo/first." in text
        assert "1 teacher finished so far" in text
        assert "Which of its classes carry which" in text


# Whom it refuses


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:9999", 200),
        ("LOCALHOST", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:8270", 421),
        ("localhost@evil.example", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_foreign_names_are_refused(server: Server, host: str, status: int) -> None:
    answer = server.get("/version", {"Host": host})
    assert answer.status == status
    assert status == 200 or "another name" in answer.line


def test_on_all_interfaces_numbers_and_own_names_are_right(board: str) -> None:
    with serving(board, host="0.0.0.0", token=TOKEN) as server:
        known = {"Authorization": f"Bearer {TOKEN}"}
        for name, status in {
            "192.168.7.7:8270": 200,
            socket.gethostname(): 200,
            "evil.example": 421,
        }.items():
            assert server.get("/version", {"Host": name, **known}).status == status


def test_without_the_token_nothing_is_told(board: str) -> None:
    with serving(board, token=TOKEN) as server:
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Basic {TOKEN}"},
            {"Cookie": "token=wrong"},
            {"Cookie": "=;;token"},
        ):
            for path in ("/", "/version", "/api/rows", "/explain/best", "/none"):
                answer = server.get(path, headers)
                assert answer.status == 401
                assert "open the address that serve printed" in answer.line
        assert server.get("/", token="wrong").status == 401
        assert server.get("/", token="").status == 401


def test_the_token_becomes_a_cookie_and_leaves_the_address(board: str) -> None:
    with serving(board, token=TOKEN) as server:
        answer = server.get("/api/rows", token=TOKEN, limit=2)
        assert answer.status == 303
        assert answer.headers["location"] == "/api/rows?limit=2"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        kept = {"Cookie": cookie.partition("; ")[0]}
        assert len(server.get("/api/rows?limit=2", kept).json["rows"]) == 2
        assert server.get("/", {"Authorization": f"Bearer {TOKEN}"}).status == 200
        # Not to another server, whatever the path looks like.
        away = server.get("//evil.example/%2e", token=TOKEN)
        assert away.headers["location"].startswith("/evil.example/")


# The command


def test_mistakes_of_the_command_get_one_line(
    board: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = write_search(tmp_path / "search")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, told in {
            (board, "--every", "0"): "--every 0 is no time to wait",
            (board, "--token", " "): "--token has to be some ASCII characters",
            (board, "--token", "ключ"): "--token has to be some ASCII characters",
            (board, "--port", port): f"--port {port} on 127.0.0.1 cannot be listened on",
            (board, "--port", "99999"): "--port 99999 on 127.0.0.1 cannot be listened on",
            (board, "--host", "no.such.name.invalid"): "is no name of this machine",
            (str(tmp_path / "nothing"),): "there is no leaderboard at",
            (search,): "serve works on leaderboards of teachers",
        }.items():
            assert run_app(app, ["serve", *arguments]) == 1
            error = capsys.readouterr().err
            assert told in error
            assert len(error.splitlines()) == 1


def test_without_the_extra_it_names_it(
    board: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run_app(app, ["serve", board]) == 1
    assert "pip install 'rayxkd[serve]'" in capsys.readouterr().err


@pytest.mark.parametrize(("host", "has_token"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_other_hosts_get_a_token(
    board: str,
    host: str,
    has_token: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    guards: list[Guard] = []

    def keep(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        guards.append(server.config.app)

    monkeypatch.setattr(uvicorn.Server, "run", keep)
    assert run_app(app, ["serve", board, "--host", host, "--port", "0"]) == 0
    found = re.search(r"serving at http://[\d.]+:\d+/(?:\?token=(\S+))?", capsys.readouterr().out)
    assert found is not None
    assert (found[1] is not None) == has_token
    assert guards[0].token == found[1]
    assert not has_token or len(found[1]) >= 32


def test_ctrl_c_ends_it_and_no_log_holds_the_token(board: str) -> None:
    command = [sys.executable, "-m", "rayxkd.leaderboard", "serve", board]
    command += ["--port", "0"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "RAYXKD_TOKEN": "quite-secret"},
    ) as process:
        assert process.stdout is not None
        port = re.search(r":(\d+)/\?token=\*\*\*$", process.stdout.readline().strip())
        assert port is not None
        server = Server(int(port[1]))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                assert server.get("/", token="quite-secret").status == 303
                break
            except OSError:
                time.sleep(0.05)
        assert server.get("/", {"Authorization": "Bearer quite-secret"}).status == 200
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(60) == 0
    assert "quite-secret" not in rest
    assert "Traceback" not in rest
    assert "error" not in rest


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


def test_the_page_grows_and_keeps_the_readers_place(browser: Any, growing: Path) -> None:
    with serving(str(growing), every=0.2) as server:
        shown, seen = opened(browser, server.url, viewport={"width": 1000, "height": 500})
        assert shown.get_by_text("2 teachers finished so far").is_visible()
        names = shown.locator(".ranking tbody tr:visible th")
        cost = shown.locator(".ranking").get_by_role("columnheader", name="cost")
        for _ in range(2):
            cost.get_by_role("button").click()
        shown.get_by_label("Show only").fill("zoo/t")
        shown.get_by_text("What the columns mean").click()
        assert names.all_inner_texts() == ["zoo/two"]
        shown.evaluate("window.scrollTo(0, 300)")
        where = shown.evaluate("window.scrollY")
        assert where > 0
        grow(growing, "zoo/three", 0.5)
        shown.get_by_text("3 teachers finished so far").wait_for(state="attached")
        assert names.all_inner_texts() == ["zoo/two", "zoo/three"]  # the dearest first, as before
        assert shown.get_by_label("Show only").input_value() == "zoo/t"
        assert cost.get_attribute("aria-sort") == "descending"
        assert shown.locator("details[open] > summary").all_inner_texts() == [
            "What the columns mean"
        ]
        assert shown.evaluate("window.scrollY") == where
        assert shown.get_by_role("link", name="The leading teachers").count() == 1
        journal = Journal(Storage.at(str(growing)))
        journal.write_table(journal.read_parts(), SCHEMA)
        shown.get_by_text("The scan is finished: 3 teachers.").wait_for(state="attached")
        assert seen == []
        shown.close()


def test_a_page_that_waits_becomes_the_report(browser: Any, tmp_path: Path) -> None:
    Journal(Storage.at(str(tmp_path))).begin(SETTINGS)
    with serving(str(tmp_path), every=0.2, token=TOKEN) as server:
        shown, seen = opened(browser, f"{server.url}?token={quote(TOKEN)}")
        assert shown.url == server.url
        assert shown.get_by_text("No teacher is finished yet").is_visible()
        grow(tmp_path, "zoo/first", 0.5)
        shown.locator(".ranking tbody th").wait_for()
        assert shown.get_by_role("navigation").get_by_role("link").count() > 3
        assert seen == []
        shown.close()


def test_a_server_that_is_gone_is_told(browser: Any, growing: Path) -> None:
    with serving(str(growing), every=0.2) as server:
        shown, _ = opened(browser, server.url)
    shown.get_by_text("The server does not answer").wait_for()
    assert shown.locator(".ranking tbody tr").count() == 2
    shown.close()


def test_axe_finds_no_fault_with_served_pages(browser: Any, server: Server) -> None:
    for path in ("", "explain/zoo%2Fbest", "explain/zoo%2Fbroken"):
        assert faults(browser, server.url + path) == []
