"""Secrets of addresses: left out of every text, and of all that a scan writes and says."""

from __future__ import annotations

import base64
import json
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rayxkd.assess.settings import AssessSettings
from rayxkd.claim import Claim
from rayxkd.cli import app
from rayxkd.console import literal, run_app
from rayxkd.data import open_image_set
from rayxkd.distill.faculty import choose_teachers
from rayxkd.distill.search.results import next_command
from rayxkd.distill.search.settings import TuneSettings
from rayxkd.distill.search.space import Space
from rayxkd.distill.settings import DistillSettings
from rayxkd.errors import UserError
from rayxkd.leaderboard import Leaderboard
from rayxkd.secrets import lacks_secrets, recordable, without_secrets
from rayxkd.status import Status
from rayxkd.storage import Storage
from rayxkd.study.settings import StudySettings
from rayxkd.teachers import open_repositories
from rayxkd.teachers.errors import TeacherError, one_line
from tests.conftest import REPO
from tests.data.builders import write_images

FORMS = {
    "https://user:password@host/x": "https://***@host/x",
    "https://user:p@ss@host:8080/x": "https://***@host:8080/x",
    "https://ghp_token@host/x.git": "https://***@host/x.git",
    "HTTPS://user:password@host": "HTTPS://***@host",
    "ftp://user:pw@host/x": "ftp://user:***@host/x",
    "ftp://user@host/x": "ftp://user@host/x",
    "ftp://user:my pass@host/x": "ftp://user:***@host/x",
    "ftp://user:pa/ss@host/x": "ftp://user:***@host/x",
    "sftp://user:it's@host/x": "sftp://user:***@host/x",
    "s3://KEY:SECRET@bucket/x": "s3://***@bucket/x",
    "s3://AKIA:a/b+c/d@bucket/x": "s3://***@bucket/x",
    "s3://KEY:123/4@bucket/x": "s3://***@bucket/x",
    "https://h/x?X-Amz-Credential=A%2Fb&X-Amz-Expires=60&X-Amz-Signature=c&part=1": (
        "https://h/x?X-Amz-Credential=***&X-Amz-Expires=***&X-Amz-Signature=***&part=1"
    ),
    "https://h/x?X-Amz-Credential=A/b/s3&X-Amz-Security-Token=F==": (
        "https://h/x?X-Amz-Credential=***&X-Amz-Security-Token=***"
    ),
    "abfs://box@account.dfs.core.windows.net/x?sv=1&se=2030&sig=a%3D": (
        "abfs://box@account.dfs.core.windows.net/x?sv=1&se=***&sig=***"
    ),
    "https://h/x?Expires=1&Signature=a&Key-Pair-Id=K&v=2": (
        "https://h/x?Expires=***&Signature=***&Key-Pair-Id=***&v=2"
    ),
    "https://h/x?GoogleAccessId=a&X%2DGoog%2DSignature=b": (
        "https://h/x?GoogleAccessId=***&X%2DGoog%2DSignature=***"
    ),
    "https://h/x?a=1;token=b&access_token=c#api_key=d": (
        "https://h/x?a=1;token=***&access_token=***#api_key=***"
    ),
    "https://h/x?key=a&AccountKey=b==&token=": "https://h/x?key=***&AccountKey=***&token=",
    "zip://a.zip::https://user:pw@host/b": "zip://a.zip::https://***@host/b",
    "simplecache::zip://*.png::s3://K:S@b/x.zip": "simplecache::zip://*.png::s3://***@b/x.zip",
    "zip://::https://h/x.zip?sig=abc": "zip://::https://h/x.zip?sig=***",
    "https://h/x.parquet?sig=a#classes=b,c&per_class=3": (
        "https://h/x.parquet?sig=***#classes=b,c&per_class=3"
    ),
    "url='https://u:p@h/x?sig=a', next": "url='https://***@h/x?sig=***', next",
    '{"a": "https://u:p@h/x?sig=a", "b": 1}': '{"a": "https://***@h/x?sig=***", "b": 1}',
    "(see https://h/x?sig=a), and ftp://u:p@h": "(see https://h/x?sig=***), and ftp://u:***@h",
    "https://h/to?next=https://u:p@h/x&sig=a": "https://h/to?next=https://***@h/x&sig=***",
}
HARMLESS = [
    "",
    "/data/a@b:c/x?token=1",
    "C:\\data",
    "write to me@example.org: see http://host",
    "http://host:8080/a@2x.png?size=3",
    "http://[::1]:80/x@y",
    "s3://bucket/a:b@c.parquet",
    "s3://arn:aws:s3:eu-west-1:1:accesspoint/x@y",
    "github://org:repo@main/zoo",
    "hf://datasets/org/name@refs/x",
    "abfs://container@account.dfs.core.windows.net/x",
    "wasbs://container@account.blob.core.windows.net/x",
    "memory://a:b/c@d",
    "file:///data/a:b@c",
    "demo://train#classes=five,six&per_class=3&seed=0",
    "zip://inner/a.png::/data/x@y:z.zip",
    "hdfs://namenode:8020/x",
]

SECRET = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$()*+,=", min_size=1
).map(lambda text: f"Q{text}Z")
PARAMETERS = st.sampled_from(
    [
        *("X-Amz-Signature", "X-Amz-Credential", "x-amz-security-token", "X-Goog-Signature"),
        *("sig", "se", "token", "access_token", "key", "AccountKey", "api-key", "Signature"),
        *("client_secret", "password", "AWSAccessKeyId", "auth"),
    ]
)


@st.composite
def secret_addresses(draw: Any) -> tuple[str, list[str]]:
    """An address, perhaps a chain, and its secrets."""
    secrets = draw(st.lists(SECRET, min_size=3, max_size=3))
    password, value, other = secrets
    scheme = draw(st.sampled_from(["http", "https", "ftp", "sftp", "s3", "smb", "webdav"]))
    first = draw(st.sampled_from(["", "zip://a.png::", "simplecache::", "zip://::filecache::"]))
    path = draw(st.sampled_from(["", "/", "/a/b.zip", "/a@b", "/a:b"]))
    address = f"{first}{scheme}://user:{password}@host{path}"
    address += f"?a=1&{draw(PARAMETERS)}={quote(value, safe='')}&b=2&{draw(PARAMETERS)}={other}"
    return address, [password, quote(value, safe=""), other]


AROUND = st.sampled_from(["", " ", "cannot open ", "'", '"', "(", "ftp://host/x ", "a@b "])


@given(secret_addresses(), AROUND, AROUND)
def test_no_secret_of_an_address_is_left(address, before, after):
    text, secrets = address
    closing = before if before in ("'", '"') else " "
    shown = without_secrets(f"{before}{text}{closing}{after}")
    for secret in secrets:
        assert secret not in shown
    assert without_secrets(shown) == shown
    assert lacks_secrets(shown)


@given(st.text().filter(lambda text: "://" not in text))
def test_a_text_without_addresses_stays(text):
    assert without_secrets(text) == text


@given(st.text(st.sampled_from("ab:/@?&=#;'\" .sigtoken*\n")) | st.text())
def test_twice_is_once(text):
    shown = without_secrets(text.replace("//", "://"))
    assert without_secrets(shown) == shown


@pytest.mark.parametrize("text", FORMS)
def test_forms(text):
    assert without_secrets(text) == FORMS[text]
    assert without_secrets(FORMS[text]) == FORMS[text]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_holds_no_secret_stays(text):
    assert without_secrets(text) == text
    assert not lacks_secrets(text)


@pytest.mark.parametrize(
    "piece", ["a", "://", "http://", "http://u:", "?token=", "'http://h?sig=", "@", "a://b:c\n"]
)
def test_time_grows_as_the_text(piece):
    start = time.monotonic()
    without_secrets(piece * 100_000)
    assert time.monotonic() - start < 10


def test_values_of_options():
    value = {"a": ["ftp://u:p@h", 1, None], "b": {"c": ("s3://K:S@b",)}, "d": 2.5}
    expected = {"a": ["ftp://u:***@h", 1, None], "b": {"c": ("s3://***@b",)}, "d": 2.5}
    assert recordable(value) == expected


# Where secrets could go.

ADDRESS = "zip://x.zip::https://user:hunter22@host/x?X-Amz-Signature=hunter33"
SHOWN = "zip://x.zip::https://***@host/x?X-Amz-Signature=***"


def test_errors_and_lines_are_without():
    assert str(UserError(f"nothing at {ADDRESS}")) == f"nothing at {SHOWN}"
    assert str(pickle.loads(pickle.dumps(UserError(ADDRESS)))) == SHOWN
    assert TeacherError(Status.INVALID, ADDRESS).reason == SHOWN
    assert one_line(ValueError(ADDRESS)) == SHOWN
    assert literal(ADDRESS).plain == SHOWN


@pytest.mark.parametrize(
    "settings",
    [
        AssessSettings(probe=ADDRESS, reference=ADDRESS, class_vectors=ADDRESS),
        DistillSettings(data=ADDRESS, unlabelled=ADDRESS, test=ADDRESS),
        TuneSettings(data=ADDRESS, unlabelled=ADDRESS),
        StudySettings(repository=(ADDRESS,), data=(ADDRESS,), test=(ADDRESS,)),
    ],
)
def test_what_is_recorded_is_without(settings):
    assert "hunter" not in json.dumps(settings.recorded(), default=str)


def test_a_new_password_makes_no_other_setting(tmp_path):
    first, second = (AssessSettings(probe=f"ftp://me:{pw}@h/x") for pw in ("one", "two"))
    assert first.recorded() == second.recorded()
    assert first.recorded() != AssessSettings(probe="ftp://me:one@h/y").recorded()
    assert first.scoring().digest("") == second.scoring().digest("")
    one, two = (DistillSettings(data=f"https://h/x?sig={signature}") for signature in "ab")
    assert one.digest() == two.digest() == one.without_secrets().digest()
    assert one.without_secrets() == replace(one, data="https://h/x?sig=***")


def test_a_note_is_written_and_compared_without(tmp_path):
    seen: list[dict[str, Any]] = []
    claim = Claim(Storage.at(str(tmp_path)), "note.json", "leaderboard")
    claim.begin({"probe": ADDRESS}, seen.append)
    assert "hunter" not in (tmp_path / "note.json").read_text()
    older = {"format": "rayxkd leaderboard", "settings": {"probe": ADDRESS}}
    (tmp_path / "note.json").write_text(json.dumps(older))
    claim.begin({"probe": ADDRESS}, seen.append)
    assert seen == [{"probe": SHOWN}]


def test_the_next_command_is_without():
    settings = TuneSettings(data=ADDRESS, unlabelled=ADDRESS, leaderboard=ADDRESS)
    assert "hunter" not in next_command(settings, ADDRESS)


def test_what_tune_writes_down_is_without():
    base = DistillSettings(data=ADDRESS, leaderboard=ADDRESS, out=ADDRESS, config=ADDRESS)
    assert b"hunter" not in pickle.dumps(Space(base.without_secrets()))


def test_a_storage_keeps_access_and_shows_none():
    storage = Storage.at("https://user:hunter22@host/zoo?X-Amz-Credential=hunter/s3/hunter33")
    child = Storage.at("https://user:hunter22@host/zoo").child("a/b")
    assert storage.url == "https://***@host/zoo?X-Amz-Credential=***"
    assert child.url == "https://***@host/zoo/a/b"
    assert child.root == "https://user:hunter22@host/zoo/a/b"
    for one in (storage, child):
        shown = f"{one!r} {one} {one.url} {one.url_of('x')} {one.name}"
        assert "hunter" not in shown
        again = pickle.loads(pickle.dumps(one))
        assert again == one
        assert again.root == one.root
    assert storage != Storage.at("https://user:other@host/zoo?X-Amz-Credential=hunter/s3/hunter33")


def test_parts_that_a_library_tore_off_are_left_out():
    """s3fs takes all of it for the name of a bucket, FTP for a port."""
    pytest.importorskip("s3fs")
    storage = Storage.at("s3://HUNTERKEY:hunter22@bucket/x")
    assert "hunter" not in storage.name.lower()
    with pytest.raises(OSError, match="bucket") as caught:
        storage.read("y")
    assert "hunter" not in f"{caught.value!r} {caught.value.__cause__!r}".lower()
    with pytest.raises(UserError, match="cannot open ftp://user:") as failed:
        Storage.at("ftp://user:hunter/22@127.0.0.1:1/x")
    assert "hunter" not in f"{failed.value} {failed.value.__cause__}"


def test_an_address_of_a_record_cannot_be_opened():
    with pytest.raises(UserError, match=r"recorded without its credentials.*by the environment"):
        Storage.at("https://***@host/zoo")


# A real server that demands a password.


@dataclass
class Server:
    """Files below a folder for whoever knows one of the passwords.

    Attributes:
        folder: the files.
        port: on the loopback interface.
        passwords: that open it, in their encoded form.
    """

    folder: Path
    port: int = 0
    passwords: set[str] = field(default_factory=lambda: {"hunter22"})

    def address(self, path: str, password: str = "hunter22") -> str:
        return f"http://user:{password}@127.0.0.1:{self.port}/{path}"

    def admits(self, header: str) -> bool:
        given = base64.b64decode(header.removeprefix("Basic ")).decode()
        return given in {f"user:{password}" for password in self.passwords}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It serves a good teacher and an image set."""
    from rayxkd.teachers.demo import RECIPES, train_demo_teacher

    place = Server(tmp_path_factory.mktemp("served"))
    train_demo_teacher(RECIPES[0], place.folder / "zoo")
    write_images(place.folder / "images.parquet", [0, 1, 2] * 10, row_group_size=10)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(place.folder))

        def send_head(self) -> Any:
            if place.admits(self.headers.get("Authorization", "")):
                return super().send_head()
            self.send_error(401)
            return None

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    place.port = http.server_port
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield place
    http.shutdown()
    http.server_close()
    thread.join()


def scan(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A scan in a process of its own that says and writes nothing secret."""
    command = [sys.executable, str(REPO / "jobs" / "assess.py"), *arguments, "--workers", "0"]
    done = subprocess.run(
        [*command, "--out", str(out)], capture_output=True, text=True, timeout=120, check=False
    )
    assert "hunter" not in done.stdout + done.stderr
    assert_kept_nowhere(out)
    return done


def assert_kept_nowhere(out: Path) -> None:
    for file in out.rglob("*"):
        assert "hunter" not in file.name
        assert not file.is_file() or b"hunter" not in file.read_bytes(), file


@pytest.mark.slow
def test_a_scan_over_http_says_and_keeps_no_password(server: Server, tmp_path: Path) -> None:
    repository = ("--repository", server.address("zoo"))
    probe = server.address("images.parquet") + "?X-Amz-Signature=hunter33#per_class=8"
    options = ("--probe", probe, "--keep-predictions")
    done = scan(tmp_path / "board", *repository, *options)
    assert done.returncode == 0, done.stderr
    assert "1 assessed" in done.stdout
    table = pq.read_table(tmp_path / "board" / "leaderboard.parquet")
    assert table["repository"].to_pylist() == [without_secrets(server.address("zoo"))]
    assert table["teacher"].to_pylist() == ["zoo/ten_digits"]
    about = Leaderboard.open(str(tmp_path / "board")).about
    assert about["probe"] == without_secrets(probe)

    server.passwords.add("hunter44")
    renewed = [option.replace("hunter22", "hunter44") for option in (*repository, *options)]
    renewed = [option.replace("hunter33", "hunter55") for option in renewed]
    again = scan(tmp_path / "board", *renewed)
    assert again.returncode == 0, again.stderr
    assert "0 assessed; 1 unchanged" in again.stdout
    other = scan(tmp_path / "board", *repository, "--probe", server.address("images.parquet"))
    assert other.returncode == 1
    assert re.search(r"was written with --probe http://\*\*\*@\S*, not http://", other.stderr)


@pytest.mark.parametrize("option", ["--repository", "--probe", "--reference", "--class-vectors"])
def test_a_refusal_over_http_says_no_password(
    server: Server, tmp_path: Path, option: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A wrong password, nobody who answers, and nothing there."""
    path = {"--repository": "zoo", "--reference": "x.npy"}.get(option, "images.parquet")
    here = () if option == "--repository" else ("--repository", str(server.folder / "zoo"))
    down = replace(server, port=1)
    for address in (
        server.address(path, "hunter99"),
        down.address(path),
        f"zip://::{server.address('nothing.zip')}",
        server.address("nothing"),
    ):
        arguments = ["assess", *here, option, address, "--out", str(tmp_path / "board")]
        assert run_app(app, [*arguments, "--workers", "0"]) == 1
        out, err = capfd.readouterr()
        assert "***@127.0.0.1" in err
        assert "hunter" not in out + err
        assert len(err.strip().splitlines()) == 1, err
        assert_kept_nowhere(tmp_path)


def test_a_password_that_expires_meanwhile_is_an_error_of_the_storage(server: Server) -> None:
    """A file that was opened is read later on."""
    storage = Storage.at(server.address(""))
    with storage.open("images.parquet") as file:
        server.passwords.remove("hunter22")
        try:
            with pytest.raises(OSError, match="401") as caught:
                file.read()
        finally:
            server.passwords.add("hunter22")
    assert "hunter" not in repr(caught.value)
    (missing,) = storage.read_many(["no"]).values()
    assert isinstance(missing, FileNotFoundError)
    assert "hunter" not in repr(missing)


def test_marks_of_files_tell_nothing_of_the_password(server: Server) -> None:
    server.passwords.add("hunter44")
    first, second = (Storage.at(server.address("zoo", pw)) for pw in ("hunter22", "hunter44"))
    marks = [first.version(file) for file in first.find()]
    assert marks == [second.version(file) for file in second.find()]
    assert len(set(marks)) == len(marks) > 1


def test_images_over_http_are_named_without(server: Server) -> None:
    images = open_image_set(server.address("images.parquet#per_class=3"))
    assert images.address == f"http://***@127.0.0.1:{server.port}/images.parquet#per_class=3"
    assert len(images) == 9


def test_two_logins_at_one_place_are_one_place(server: Server) -> None:
    addresses = [server.address("zoo"), server.address("zoo", "hunter44")]
    with pytest.raises(UserError, match="names an address twice") as caught:
        open_repositories(addresses)
    assert "hunter" not in str(caught.value)


def test_teachers_are_found_again_by_the_environment_alone(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rayxkd.assess import assess

    settings = AssessSettings(
        repository=(server.address("zoo"),), out=str(tmp_path / "a"), workers=0
    )
    board = assess(settings, Console(quiet=True)).leaderboard
    classes = board.about["class_names"]
    with pytest.raises(UserError, match="was recorded without its credentials"):
        choose_teachers(board, ("best",), classes)

    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password hunter22\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setitem(fsspec_conf(), "http", {"client_kwargs": {"trust_env": True}})
    plain = f"http://127.0.0.1:{server.port}/zoo"
    settings = replace(settings, repository=(plain,), out=str(tmp_path / "b"))
    board = assess(settings, Console(quiet=True)).leaderboard
    (teacher,) = choose_teachers(board, ("best",), classes)
    assert teacher.repository.address == plain


def fsspec_conf() -> dict[str, Any]:
    """What FSSPEC_HTTP in the environment fills when a process begins."""
    from fsspec.config import conf

    return conf
