"""Signing in: one-time links, and the brake on guessing passwords."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from django.contrib.auth.models import User
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone
from django.utils.encoding import force_bytes, force_str
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

MAX_FAILURES = 5
FAILURE_WINDOW_SECONDS = 5 * 60


class SignInTokens(PasswordResetTokenGenerator):
    """Tokens of one-time sign-in links: void after a sign-in, a change of password, or PASSWORD_RESET_TIMEOUT."""

    key_salt = "dashboard.services.accounts.SignInTokens"

    def _make_hash_value(self, user: AbstractBaseUser, timestamp: int) -> str:
        # The base class drops the microseconds of last_login; a link used within a second of its making would live on.
        last_login = user.last_login.isoformat() if user.last_login else ""
        return f"{user.pk}{user.password}{last_login}{timestamp}"


_tokens = SignInTokens()


def sign_in_link(user: User) -> str:
    """Return the path of a page that signs the user in, once."""
    return reverse("sign_in_link", args=[urlsafe_base64_encode(force_bytes(user.pk)), _tokens.make_token(user)])


def link_user(uidb64: str, token: str) -> User | None:
    """Return the user of a link that is still good, else None."""
    try:
        user = User.objects.filter(pk=force_str(urlsafe_base64_decode(uidb64)), is_active=True).first()
    except (ValueError, OverflowError):
        return None
    return user if user and _tokens.check_token(user, token) else None


def redeem(user: User) -> bool:
    """Spend the user's outstanding links; False when somebody else has just used one."""
    rows = User.objects.filter(pk=user.pk, last_login=user.last_login).update(last_login=timezone.now())
    return rows == 1


def failures_key(username: str, address: str) -> str:
    """Return the cache key that counts failures of one user name from one address."""
    name = hashlib.sha256(f"{username.casefold()}\n{address}".encode()).hexdigest()
    return f"sign-in-failures:{name}"


def is_throttled(*, username: str, address: str) -> bool:
    """Say whether this name has failed too often from this address lately, whether or not such a user exists."""
    return int(cache.get(failures_key(username, address), 0)) >= MAX_FAILURES


def note_failure(*, username: str, address: str) -> None:
    """Count a failed attempt; the window begins with the first."""
    key = failures_key(username, address)
    if not cache.add(key, 1, FAILURE_WINDOW_SECONDS):
        try:
            cache.incr(key)
        except ValueError:  # it ran out in between
            cache.add(key, 1, FAILURE_WINDOW_SECONDS)


def forget_failures(*, username: str, address: str) -> None:
    """Forget the failures after a success."""
    cache.delete(failures_key(username, address))
