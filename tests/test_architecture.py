"""Rules of the tree that import-linter cannot express. The other ones are in pyproject.toml."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imports_of(path: Path) -> Iterator[str]:
    """Yield the full name of everything a module imports, as far as its text tells."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def modules(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "migrations" not in path.parts)


@pytest.mark.parametrize("path", modules("storagedriver"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_driver_knows_no_database(path: Path) -> None:
    assert not [name for name in imports_of(path) if name.startswith(("django.db", "django.contrib"))]


@pytest.mark.parametrize("path", modules("dashboard"), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_dispatch_sends_messages(path: Path) -> None:
    calls = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert path.name == "dispatch.py" or not calls & {"send_task", "apply_async", "delay", "delay_on_commit"}


@pytest.mark.parametrize("path", modules("dashboard/views"), ids=lambda path: path.name)
def test_views_fetch_with_permission(path: Path) -> None:
    """A view reaches rows through dashboard.access or a selector that takes the user, never by itself."""
    assert not [name for name in imports_of(path) if name.endswith((".get_object_or_404", ".get_list_or_404"))]


@pytest.mark.parametrize(
    "path", [*modules("dashboard"), *modules("project")], ids=lambda path: str(path.relative_to(ROOT))
)
def test_nothing_is_marked_safe(path: Path) -> None:
    """Image content is hostile: markup is written in templates, where everything is escaped."""
    assert not [name for name in imports_of(path) if name.endswith(".mark_safe")]


@pytest.mark.parametrize("path", sorted((ROOT / "templates").rglob("*.html")), ids=lambda path: path.name)
def test_templates_escape_everything(path: Path) -> None:
    text = path.read_text()
    assert "|safe" not in text
    assert "autoescape off" not in text
    assert " style=" not in text
    assert "<script>" not in text
