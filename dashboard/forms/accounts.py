"""Signing in."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from dashboard.services import accounts


def client_address(request: HttpRequest) -> str:
    """Return the address of who asks: the peer's or, behind a trusted proxy, the last one that the proxy wrote down.

    Addresses before the last in X-Forwarded-For are what a client claims.
    """
    if settings.SECURE_PROXY_SSL_HEADER and (forwarded := request.headers.get("X-Forwarded-For", "")):
        return forwarded.rpartition(",")[2].strip()
    return str(request.META.get("REMOTE_ADDR", ""))


class SignInForm(AuthenticationForm):
    """Name and password. After five failures of a name from an address it refuses both right and wrong passwords."""

    error_messages = {
        "invalid_login": "This user name and password do not match an active account. Both are case-sensitive.",
        "inactive": "This user name and password do not match an active account. Both are case-sensitive.",
        "throttled": "Too many failed attempts. Wait five minutes, then try again.",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.throttled = False

    def clean(self) -> dict[str, Any]:
        username = self.cleaned_data.get("username", "")
        address = client_address(self.request) if self.request else ""
        if accounts.is_throttled(username=username, address=address):
            self.throttled = True
            raise ValidationError(self.error_messages["throttled"], code="throttled")
        try:
            cleaned: dict[str, Any] = super().clean()
        except ValidationError:
            accounts.note_failure(username=username, address=address)
            raise
        accounts.forget_failures(username=username, address=address)
        return cleaned
