"""HTML pages in tests: what they are made of, and a browser to open them with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import pytest

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=https://example.org/x onerror=alert(1)>'
HOSTILE = (SCRIPT, IMAGE, "a\x1b[31mb\x00c", "d\u202ee", "{{ 7 * 7 }}", "&amp;")


class Outline(HTMLParser):
    """What a page is made of, and that every element that is opened is closed."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        assert not self.opened

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.opened:
            self.scripts.append(data)
        elif "style" not in self.opened:
            self.words.append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag in tags]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@contextmanager
def chromium() -> Iterator[Any]:
    """Chromium, where one is installed (`apt-get install chromium`)."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: extra 'dev'")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
    if found is None:
        pytest.skip("needs Chromium on the PATH")
    flags = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=list(flags))
        yield browser
        browser.close()


def opened(browser: Any, address: str, **how: Any) -> tuple[Any, list[str]]:
    """The page, and what went wrong: messages, errors, dialogs and requests for anything else.

    A page of a server may ask that server.
    """
    seen: list[str] = []
    origin = urlsplit(address)[:2] if address.startswith("http") else None

    def is_own(asked: str) -> bool:
        return asked == address or asked.startswith("data:") or urlsplit(asked)[:2] == origin

    shown = browser.new_page(**how)
    shown.on("console", lambda message: seen.append(message.text))
    shown.on("pageerror", lambda error: seen.append(str(error)))
    shown.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
    shown.on("request", lambda asked: None if is_own(asked.url) else seen.append(asked.url))
    shown.goto(address)
    return shown, seen


def faults(browser: Any, address: str, **how: Any) -> list[tuple[str, str]]:
    """What axe-core finds wrong with a page of which everything is unfolded."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs extra 'dev'")
    # The page's own policy would keep the checker's script out.
    shown, _ = opened(browser, address, bypass_csp=True, **how)
    shown.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    violations = axe.Axe().run(shown).response["violations"]
    shown.close()
    return [(one["id"], one["nodes"][0]["html"]) for one in violations]
