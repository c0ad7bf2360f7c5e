"""The redirect middleware: pulls go, unsigned, to another server that has the same files."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import Self

from storagedriver.middleware.options import Options, split_base_url
from storagedriver.parameters import ParameterWarning


@dataclass(frozen=True)
class Redirect:
    """Puts a driver path behind a base URL. The path is without the root directory, and nothing is signed.

    `origin` is scheme, host and port; `base` the URL's path, which registries before version 3 leave out.
    """

    origin: str
    base: str
    warnings: tuple[ParameterWarning, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, **options: object) -> Self:
        """Validate the middleware's options: `baseurl`. Raises ParameterErrors."""
        given = Options(options, ("baseurl",))
        baseurl = given.text("baseurl", required="enter the server's address, such as https://mirror.example.com")
        origin = base = ""
        if baseurl:
            # "example.com:5443" would count as a scheme otherwise
            if "://" not in baseurl:
                given.refuse("baseurl", "no scheme specified for redirect baseurl; write https://example.com")
            elif not baseurl.partition("://")[2].partition("/")[0]:
                given.refuse("baseurl", "no host specified for redirect baseurl; write https://example.com")
            else:
                try:
                    parts = split_base_url(baseurl)
                    if parts.query:
                        raise ValueError("use only scheme, host, port and path")
                    origin, base = f"{parts.scheme}://{parts.netloc}", parts.path
                except ValueError as error:
                    given.refuse("baseurl", f"unable to parse redirect baseurl: {baseurl}: {error}")
        given.check()
        return cls(origin, base, tuple(given.warnings))

    def url(self, path: str) -> str:
        """Return the URL of a driver path; its leading slash may be missing."""
        return self.origin + posixpath.join("/", self.base.strip("/"), path.lstrip("/"))
