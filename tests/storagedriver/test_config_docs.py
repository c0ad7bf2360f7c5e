"""The examples of docs/config.md, run."""

from __future__ import annotations

import doctest
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "config.md"


def test_the_examples_of_the_documentation_run() -> None:
    failed, tried = doctest.testfile(str(DOCUMENT), module_relative=False)
    assert tried > 5
    assert failed == 0
