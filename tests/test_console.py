"""How commands talk: exit codes, and one line for every mistake."""

from __future__ import annotations

import sys

import pytest
from cyclopts import App

from rayxkd.console import literal, output_console, run_app
from rayxkd.errors import UserError


@pytest.fixture
def app() -> App:
    app = App(name="try", version_flags=[])

    @app.command
    def fail(message: str) -> None:
        raise UserError(message)

    @app.command
    def interrupt() -> None:
        raise KeyboardInterrupt

    @app.command
    def leave(*, code: int = 0) -> int:
        return code

    @app.command
    def crash() -> None:
        raise ZeroDivisionError

    return app


def test_the_command_s_code_is_the_exit_code(app, capsys):
    assert run_app(app, ["leave"]) == 0
    assert run_app(app, ["leave", "--code", "7"]) == 7
    assert capsys.readouterr() == ("", "")


def test_help_is_no_mistake(app, capsys):
    assert run_app(app, ["--help"]) == 0
    assert run_app(app, ["leave", "--help"]) == 0
    out, err = capsys.readouterr()
    assert "interrupt" in out
    assert "--code" in out
    assert err == ""


def test_arguments_are_those_of_the_process_if_none_are_given(app, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["try", "leave", "--code", "5"])
    assert run_app(app) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fail", "no such thing"], "error: no such thing\n"),
        (["laeve"], 'Unknown command "laeve". Did you mean "leave"?'),
        (["leave", "--cdoe", "1"], "Unknown option: --cdoe. Did you mean --code? See --help.\n"),
        (["leave", "--code", "x"], 'error: Invalid value for --code: unable to convert "x"'),
        (["leave", "--code"], "--code"),
        (["leave", "surplus"], "surplus"),
        (["fail"], "message"),
    ],
)
def test_a_mistake_is_one_line_on_standard_error_and_code_1(arguments, message, app, capsys):
    assert run_app(app, arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_a_long_mistake_is_still_one_line(app, capsys):
    assert run_app(app, ["fail", "word " * 200]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_text_of_others_in_a_mistake_is_shown_as_it_is(app, capsys):
    run_app(app, ["fail", "zoo/[bold]x[/bold] :cat: has\n  two lines and \x1b[31mred"])
    err = capsys.readouterr().err
    assert err == "error: zoo/[bold]x[/bold] :cat: has two lines and \\x1b[31mred\n"


def test_an_interrupt_is_code_130(app, capsys):
    assert run_app(app, ["interrupt"]) == 130
    assert capsys.readouterr() == ("", "error: interrupted\n")


def test_a_fault_of_ours_is_not_hidden(app):
    with pytest.raises(ZeroDivisionError):
        run_app(app, ["crash"])


def test_literal_shows_control_characters_and_nothing_else_changes():
    assert literal("a\tb\x00\x7f\x9b\r\n").plain == r"a\tb\x00\x7f\x9b\r\n"
    text = "[red]ü 🦜[/red] :cat: \\ 动物"
    assert literal(text).plain == text


def test_pipes_are_wide_and_columns_can_be_asked_for(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert output_console().width == 200
    monkeypatch.setenv("COLUMNS", "77")
    assert output_console().width == 77
