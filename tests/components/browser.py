"""Chromium, and what every page must satisfy: no CSP violation, no script error, no serious accessibility problem."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import axe_playwright_python
from playwright.sync_api import Browser, ConsoleMessage, Page, Response, sync_playwright

from tests.components.process import need

WIDE, NARROW = {"width": 1400, "height": 1000}, {"width": 400, "height": 900}
SCHEMES = ("light", "dark")
# After the transitions: a colour on its way has a contrast of its own. Without preload: it makes style sheets, which the
# page's policy refuses and the console reports.
AXE_RUN = """
    Promise.all(document.getAnimations().filter(one => one instanceof CSSTransition).map(one => one.finished))
        .then(() => axe.run({resultTypes: ['violations'], preload: false}))
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Debian's Chromium. The event loop ends with the block: no later test finds itself in an async context."""
    path = need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """A page that remembers everything that went wrong on the way, with the address where it did."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.page: Page = browser.new_context(viewport=WIDE, base_url=address).new_page()  # type: ignore[arg-type]
        self.problems: list[str] = []
        self._host = urlsplit(address).netloc
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self._note(f"script error: {error}"))
        self.page.on("response", self._receive)

    def inspect(self, name: str) -> None:
        """Look at the page in both colour schemes, and whether a phone must scroll it sideways."""
        for scheme in SCHEMES:
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            for violation in self._axe():
                self._note(f"{name}, {scheme}: {violation}")
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size(NARROW)  # type: ignore[arg-type]
        width = self.page.evaluate_handle("document.documentElement").get_property("scrollWidth").json_value()
        if width > NARROW["width"]:
            self._note(f"{name}: {width} px wide on a phone of {NARROW['width']}")
        self.page.set_viewport_size(WIDE)  # type: ignore[arg-type]

    def report(self) -> str:
        """Return everything that went wrong, a line each."""
        return "\n".join(self.problems)

    def _axe(self) -> Iterator[str]:
        """Run axe over the DevTools protocol, as the page's own policy lets no foreign script in."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Runtime.evaluate", {"expression": axe_script()})
        answer = session.send(
            "Runtime.evaluate",
            {"expression": AXE_RUN, "awaitPromise": True, "returnByValue": True},
        )
        session.detach()
        assert "exceptionDetails" not in answer, answer
        found: list[dict[str, Any]] = answer["result"]["value"]["violations"]
        for violation in found:
            if violation["impact"] in ("serious", "critical"):
                places = "; ".join(
                    f"{node['html'][:200]} {node['any'][0]['message'] if node['any'] else ''}"
                    for node in violation["nodes"][:3]
                )
                yield f"axe {violation['id']} ({violation['impact']}): {violation['help']}: {places}"

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._note(f"console: {message.text}")

    def _receive(self, response: Response) -> None:
        if urlsplit(response.url).netloc != self._host and not response.url.startswith("data:"):
            self._note(f"asked a foreign host: {response.url}")
        elif response.status >= 400:
            self._note(f"{response.status} {response.url}")

    def _note(self, problem: str) -> None:
        where = re.sub(r"/sign-in/link/.*", "/sign-in/link/…", self.page.url)
        if (text := f"{where}: {problem}") not in self.problems:
            self.problems.append(text)


@cache
def axe_script() -> str:
    return next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")).read_text()
