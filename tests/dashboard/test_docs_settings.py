"""docs/settings.md names every variable that settings.py reads and every field of the registry form, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from dashboard.forms.registries import RegistryForm

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT, FORM = (ROOT / "docs" / "settings.md").read_text().split("## A registry's form")
INTERNAL_FIELDS = {"revision_seen"}  # hidden in the form


def names_read() -> set[str]:
    """Return the names that settings.py asks its environment for, as in env.str("NAME")."""
    calls = (
        node
        for node in ast.walk(ast.parse((ROOT / "project" / "settings.py").read_text()))
        if isinstance(node, ast.Call)
    )
    return {
        str(call.args[0].value)
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "env"
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }


def test_the_table_of_the_environment_is_complete_and_true() -> None:
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", ENVIRONMENT, re.MULTILINE)) == names_read()


def test_the_table_of_the_form_is_complete_and_true() -> None:
    fields = RegistryForm.base_fields
    labels = {str(field.label).casefold() for name, field in fields.items() if name not in INTERNAL_FIELDS}
    documented = {label.casefold() for label in re.findall(r"^\| ([A-Z][^|]*?) \|", FORM, re.MULTILINE)}
    assert documented - {"members"} == labels
