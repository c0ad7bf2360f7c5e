"""Model fields that keep secrets encrypted at rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models


def key_ring() -> MultiFernet:
    """Return the ring of settings.FIELD_KEYS: the first key encrypts, all of them decrypt."""
    return MultiFernet([Fernet(key) for key in settings.FIELD_KEYS])


if TYPE_CHECKING:
    TextField = models.TextField[str, str]
else:
    TextField = models.TextField


class EncryptedTextField(TextField):
    """Text that the database holds as a Fernet token. An unreadable token is an error, never the value.

    It cannot be searched, ordered or indexed: each encryption of one text differs.
    """

    def get_prep_value(self, value: Any) -> Any:
        text = super().get_prep_value(value)
        return key_ring().encrypt(text.encode()).decode() if text else text

    def from_db_value(self, value: str | None, *_: Any) -> str | None:
        if not value:
            return value
        try:
            return key_ring().decrypt(value.encode()).decode()
        except InvalidToken:
            message = "A stored secret cannot be decrypted: FIELD_KEYS lacks the key it was written with. Add that key."
            raise ImproperlyConfigured(message) from None

    def get_lookup(self, lookup_name: str) -> Any:
        """Allow only the test for null: an encrypted value matches nothing."""
        return super().get_lookup(lookup_name) if lookup_name == "isnull" else None
