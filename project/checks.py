"""System checks that refuse an unsafe production. Each error says which setting of docs/settings.md mends it.

Production is what DATABASE_URL or REDIS_URL makes it (settings.EMBEDDED is false): it is meant for many users and
several hosts, so what is convenient on one machine is an error there.
"""

from __future__ import annotations

from cryptography.fernet import Fernet
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register

MIN_SECRET_KEY_LENGTH = 32

NEW_FIELD_KEY = 'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
NEW_SECRET_KEY = 'python -c "import secrets; print(secrets.token_urlsafe(50))"'  # noqa: S105 - a command


@register(Tags.security)
def field_keys(**_: object) -> list[CheckMessage]:
    """E003: FIELD_KEYS that cannot encrypt, in production or not. No message repeats a key."""
    hint = (
        f"FIELD_KEYS holds keys separated by commas, each 32 random bytes in URL-safe base64. Make one: {NEW_FIELD_KEY}"
    )
    if not settings.FIELD_KEYS:
        return [
            Error("FIELD_KEYS is empty: the registries' secrets cannot be stored.", hint=hint, id="wharfinger.E003")
        ]
    bad = [str(place) for place, key in enumerate(settings.FIELD_KEYS, start=1) if not _is_fernet_key(key)]
    if not bad:
        return []
    return [Error(f"FIELD_KEYS is invalid: key {', '.join(bad)} is not a key.", hint=hint, id="wharfinger.E003")]


def _is_fernet_key(key: str) -> bool:
    try:
        Fernet(key)
    except (ValueError, TypeError):
        return False
    return True


@register(Tags.security)
def production(**_: object) -> list[CheckMessage]:
    """E001 to E009 without E003, and W001: what only one trusted machine may do."""
    if settings.EMBEDDED:
        return []
    return [*_keys(), *_services(), *_transport()]


def _keys() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.SECRET_KEY_GENERATED:
        found.append(
            Error(
                "SECRET_KEY was generated on this host: other hosts would not know its sessions.",
                hint=f"Set SECRET_KEY, or SECRET_KEY_FILE to a file that holds it. Make one: {NEW_SECRET_KEY}",
                id="wharfinger.E001",
            )
        )
    elif len(settings.SECRET_KEY) < MIN_SECRET_KEY_LENGTH:
        found.append(
            Error(
                f"SECRET_KEY has fewer than {MIN_SECRET_KEY_LENGTH} characters: sessions and links could be forged.",
                hint=f"Make a long random one: {NEW_SECRET_KEY}",
                id="wharfinger.E009",
            )
        )
    if settings.FIELD_KEYS_GENERATED:
        found.append(
            Error(
                "FIELD_KEYS was generated on this host: other hosts could not read the registries' secrets.",
                hint="Set FIELD_KEYS, or FIELD_KEYS_FILE to a file that holds it. To keep the secrets stored so far, "
                "take the key in DATA_DIR/secrets/field_key.",
                id="wharfinger.E002",
            )
        )
    return found


def _services() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
        found.append(
            Error(
                "The database is SQLite: a file on one host, which web and workers on other hosts cannot share.",
                hint="Set DATABASE_URL to PostgreSQL, for example postgres://user:password@host:5432/wharfinger, "
                "or unset DATABASE_URL and REDIS_URL to run embedded on one machine.",
                id="wharfinger.E005",
            )
        )
    if not settings.REDIS_URL:
        found.append(
            Error(
                "DATABASE_URL is set but REDIS_URL is not: there is no broker that web and workers can share.",
                hint="Set REDIS_URL, for example redis://host:6379/0.",
                id="wharfinger.E006",
            )
        )
    return found


def _transport() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if settings.DEBUG:
        found.append(
            Error(
                "DEBUG is on: error pages show settings and data to everybody.",
                hint="Unset DEBUG.",
                id="wharfinger.E004",
            )
        )
    if not settings.HTTPS:
        found.append(
            Error(
                "HTTPS is off: passwords, sessions and storage keys would cross the network in the clear.",
                hint="Unset HTTPS and put a proxy that ends TLS in front. If the proxy sets X-Forwarded-Proto and drops "
                "what clients send of it, set TRUST_PROXY=1.",
                id="wharfinger.E007",
            )
        )
    if not settings.ALLOWED_HOSTS or "*" in settings.ALLOWED_HOSTS:
        found.append(
            Error(
                "ALLOWED_HOSTS is empty or names every host.",
                hint="Set ALLOWED_HOSTS to the host names of this site, separated by commas: wharfinger.example.org",
                id="wharfinger.E008",
            )
        )
    if settings.ENDPOINT_ALLOW_PRIVATE:
        found.append(
            checks.Warning(
                "ENDPOINT_ALLOW_PRIVATE is on: whoever edits a registry can make workers call any host inside your network.",
                hint="Unset it, and name the storage hosts with private addresses in ENDPOINT_ALLOWLIST.",
                id="wharfinger.W001",
            )
        )
    return found
