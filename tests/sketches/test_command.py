"""The command, as a user gives it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayxkd.cli import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["index", *arguments])
    return int(ended.value.code or 0)


def test_an_index_from_the_command_line(
    trained_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "index")
    asked = ["--repository", str(trained_digits), "--reference", "demo://test", "--out", out]
    asked += ["--workers", "0", "--timeout", "5m"]
    assert run(*asked) == 0
    told = capsys.readouterr().out
    assert "4 teachers sketched in " in told
    assert f"index: {out}" in told
    assert run(*asked) == 0
    assert "0 teachers sketched; 4 unchanged and not asked again" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--gpus-per-worker", "0.3"), "--gpus-per-worker 0.3 must be 0"),
        (("--timeout", "0s"), "--timeout must be above zero"),
        (("--repository", "nowhere"), "there is no repository at"),
    ],
)
def test_a_mistake_is_one_line(
    option: tuple[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "index"
    asked = ["--repository", "zoo", "--reference", "demo://test", "--out", str(out)]
    assert run(*asked, "--workers", "0", *option) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1, error
    assert not out.exists(), "a mistake leaves nothing behind"
