"""The encrypted field: the database never holds the text, and a missing key is an error, never a value."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import FieldError, ImproperlyConfigured
from django.db import connection
from django.test import override_settings

from dashboard.models import Registry
from tests.dashboard.factories import make_registry

pytestmark = pytest.mark.django_db
CANARY = "canary-secret-key"
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def stored(column: str = "secret_key") -> str:
    """Return the column as the database holds it."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM dashboard_registry")
        return str(cursor.fetchone()[0])


def test_it_comes_back_as_it_went_in() -> None:
    registry = make_registry(secret_key=CANARY, cloudfront_private_key="line one\nline two ✓")
    registry.refresh_from_db()
    assert (registry.secret_key, registry.cloudfront_private_key) == (CANARY, "line one\nline two ✓")


def test_the_database_holds_no_plain_text() -> None:
    make_registry(secret_key=CANARY)
    assert CANARY not in stored()


def test_one_text_is_stored_differently_each_time() -> None:
    registry = make_registry(secret_key=CANARY)
    before = stored()
    registry.save(update_fields=["secret_key"])
    assert stored() != before


def test_empty_stays_empty() -> None:
    make_registry(secret_key="")
    assert stored() == ""


def test_an_update_of_a_query_set_encrypts_too() -> None:
    registry = make_registry()
    Registry.objects.filter(pk=registry.pk).update(secret_key=CANARY)
    assert CANARY not in stored()


def test_a_new_first_key_still_reads_what_the_old_one_wrote() -> None:
    with override_settings(FIELD_KEYS=[OLD]):
        registry = make_registry(secret_key=CANARY)
    with override_settings(FIELD_KEYS=[NEW, OLD]):
        registry.refresh_from_db()
        assert registry.secret_key == CANARY


def test_a_new_first_key_encrypts_what_is_written_now() -> None:
    with override_settings(FIELD_KEYS=[NEW, OLD]):
        make_registry(secret_key=CANARY)
    assert Fernet(NEW).decrypt(stored().encode()).decode() == CANARY


def test_a_missing_key_is_an_error_that_names_the_setting_and_no_secret() -> None:
    with override_settings(FIELD_KEYS=[OLD]):
        make_registry(secret_key=CANARY)
    with override_settings(FIELD_KEYS=[NEW]), pytest.raises(ImproperlyConfigured, match="FIELD_KEYS") as caught:
        Registry.objects.get()
    assert CANARY not in str(caught.value)


def test_a_damaged_token_is_an_error() -> None:
    make_registry()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dashboard_registry SET secret_key = 'plain text'")
    with pytest.raises(ImproperlyConfigured):
        Registry.objects.get()


def test_searching_it_is_refused() -> None:
    with pytest.raises(FieldError):
        Registry.objects.filter(secret_key=CANARY).exists()
