"""The errors of the layout package. Every text is a sentence that can be shown to a user."""

from __future__ import annotations


class LayoutError(ValueError):
    """Something in a registry, or meant for one, does not follow its format."""


class DigestError(LayoutError):
    """Not a digest of an algorithm that a registry accepts."""


class LinkError(LayoutError):
    """The content of a link object is not exactly one digest."""


class InvalidReferenceError(LayoutError):
    """Not a repository name, a tag, or an image reference."""


class ManifestError(LayoutError):
    """The bytes are not a manifest that a registry serves."""


class ConfigError(LayoutError):
    """The bytes are not an image configuration."""


class ArchiveError(LayoutError):
    """The file is not an image archive, or not a sound one."""


def shown(value: object, limit: int = 100) -> str:
    """`value` as it may stand in an error: control characters and lone surrogates escaped, cut after `limit`."""
    text = ascii(value[: limit + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= limit else f"{text[:limit]}…"
