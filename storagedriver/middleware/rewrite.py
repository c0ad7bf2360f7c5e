"""The rewrite middleware: the driver's own URL with another scheme, host or a shorter path."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from storagedriver.middleware.options import Options
from storagedriver.parameters import ParameterWarning


@dataclass(frozen=True)
class Rewrite:
    """Replaces scheme and host of a URL and cuts a prefix off its path; "" leaves each as it is.

    The signature of a presigned S3 URL covers its host and path: whatever listens at the new place must restore both.
    """

    scheme: str = ""
    host: str = ""
    trimpathprefix: str = ""
    warnings: tuple[ParameterWarning, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, **options: object) -> Self:
        """Validate the middleware's options. Raises ParameterErrors."""
        names = ("scheme", "host", "trimpathprefix")
        given = Options(options, names)
        values = {name: given.text(name) for name in names}
        if values["scheme"] not in {"", "http", "https"}:
            given.refuse("scheme", "scheme must be http or https")
        if any(letter in values["host"] for letter in "/?#@ "):
            given.refuse("host", "host is a name with or without a port, such as cdn.example.com:8443")
        given.check()
        return cls(**values, warnings=tuple(given.warnings))

    def url(self, url: str) -> str:
        """Return a URL rewritten."""
        parts = urlsplit(url)
        path = parts.path.removeprefix(self.trimpathprefix)
        return urlunsplit(
            parts._replace(scheme=self.scheme or parts.scheme, netloc=self.host or parts.netloc, path=path)
        )
