"""What a visitor objects to, each on a page made to be objected to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from tests.components import Answer, Proxy
from tests.components.browser import Visitor, chromium

GOOD = '<!doctype html><html lang="en"><title>Page</title><meta name="viewport" content="width=device-width"><main>{}</main>'
POLICY = {"Content-Security-Policy": "default-src 'none'; img-src 'self'; frame-ancestors 'none'"}


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(chrome: Browser) -> Callable[[str], list[str]]:
    """Return a function that visits and inspects a page of some content and returns the problems."""

    def visit(content: str) -> list[str]:
        def answer(method: str, path: str) -> Answer:
            return Answer(
                200 if path in ("/", "/favicon.ico") else 404, GOOD.format(content).encode(), "text/html", POLICY
            )

        with Proxy("http://unused", answer=answer) as server:
            visitor = Visitor(chrome, server.endpoint)
            visitor.page.goto("/")
            visitor.inspect("page")
            visitor.page.context.close()
            return visitor.problems

    return visit


def test_a_good_page_is_let_pass(visit: Callable[[str], list[str]]) -> None:
    assert visit("<h1>Registries</h1>") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("<script>1</script>", "Content Security Policy", id="inline script"),
        pytest.param('<h1 style="margin:1px">x</h1>', "Content Security Policy", id="inline style"),
        pytest.param("<button></button>", "axe button-name", id="button without a name"),
        pytest.param("<pre>" + "x" * 500 + "</pre>", "wide on a phone", id="too wide"),
        pytest.param('<img src="/gone.png" alt="Gone">', "404", id="missing image"),
    ],
)
def test_a_bad_page_is_objected_to(visit: Callable[[str], list[str]], content: str, words: str) -> None:
    assert words in "\n".join(visit(content))
