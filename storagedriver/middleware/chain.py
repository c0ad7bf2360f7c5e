"""Middlewares in a row, as a registry's `middleware.storage` section lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storagedriver.errors import ParameterErrors
from storagedriver.middleware.cloudfront import CloudFront
from storagedriver.middleware.ranges import Fetch, download
from storagedriver.middleware.redirect import Redirect
from storagedriver.middleware.rewrite import Rewrite
from storagedriver.parameters import ParameterWarning
from storagedriver.paths import check_path

if TYPE_CHECKING:
    from storagedriver.driver import S3Driver

Middleware = CloudFront | Redirect | Rewrite
PULLS = frozenset({"GET", "HEAD"})
NAMES = ("cloudfront", "redirect", "rewrite")


@dataclass(frozen=True)
class Chain:
    """A driver behind middlewares. The first wraps the driver, each following one wraps what is before it.

    Middlewares change where pulls are redirected to and nothing else: everything else is asked of `driver`.
    `warnings` name the section, as `1 cloudfront`, and say what has no effect there.
    """

    driver: S3Driver
    middlewares: tuple[Middleware, ...] = ()
    warnings: tuple[ParameterWarning, ...] = ()

    def redirect_url(self, path: str, method: str = "GET", client_ip: str | None = None) -> str | None:
        """Return where a client fetches the object at a path, None to stream it. See `S3Driver.redirect_url`.

        `client_ip` is what the first entry of X-Forwarded-For, else X-Real-Ip, else the connection says.
        """
        check_path(path)
        if method not in PULLS:
            return self.driver.redirect_url(path, method, client_ip)
        return self._redirect(len(self.middlewares), path, method, client_ip)

    def _redirect(self, count: int, path: str, method: str, client_ip: str | None) -> str | None:
        """Answer as the first `count` middlewares do; a middleware that decides alone asks nobody before it."""
        if count == 0:
            return self.driver.redirect_url(path, method, client_ip)
        match self.middlewares[count - 1]:
            case CloudFront() as cloudfront if cloudfront.serves(client_ip):
                return cloudfront.sign(self.driver.key(path))
            case Redirect() as redirect:
                return redirect.url(path)
            case Rewrite() as rewrite:
                # Registries make up a URL such as //host when the driver gives none; a stream is right then.
                url = self._redirect(count - 1, path, method, client_ip)
                return rewrite.url(url) if url else url
            case _:
                return self._redirect(count - 1, path, method, client_ip)


def build(
    sections: Sequence[Mapping[str, object]], driver: S3Driver, *, key_files: bool = False, fetch: Fetch = download
) -> Chain:
    """Put a driver behind the middlewares of sections {name, options, disabled}, in their order.

    `key_files` and `fetch` are those of `CloudFront.parse`. Makes no request. Raises ParameterErrors with every error;
    its fields name section and option, as `1 cloudfront.baseurl`.

    A section that is `disabled` is left out, although registries use it all the same. So is a cloudfront that is not
    first: it needs the driver itself to learn a key, and a registry's only answers for what is before it.
    """
    middlewares: list[Middleware] = []
    warnings: list[ParameterWarning] = []
    errors: dict[str, list[str]] = {}
    for number, section in enumerate(sections, 1):
        name, options = section.get("name"), section.get("options") or {}
        at = f"{number} {name}"
        if name not in NAMES:
            errors[at] = [f"no storage middleware registered with name: {name}; use {', '.join(NAMES)}"]
        elif not isinstance(options, Mapping):
            errors[at] = ["options must be a mapping of option to value"]
        elif section.get("disabled") is True:
            warnings.append(
                ParameterWarning(
                    at, "disabled, so left out here; a registry ignores that and uses it: delete the section"
                )
            )
        else:
            try:
                made = _make(str(name), {str(key): value for key, value in options.items()}, key_files, fetch)
            except ParameterErrors as refused:
                errors |= {f"{at}.{field}": messages for field, messages in refused.items()}
                continue
            warnings += _prefixed(at, made.warnings)
            if isinstance(made, CloudFront) and middlewares:
                warnings.append(ParameterWarning(at, "has no effect after another middleware; put cloudfront first"))
            else:
                middlewares.append(made)
    if errors:
        raise ParameterErrors(errors)
    return Chain(driver, tuple(middlewares), tuple(warnings))


def _make(name: str, options: dict[str, object], key_files: bool, fetch: Fetch) -> Middleware:
    if name == "cloudfront":
        # These two are arguments, not options: a section cannot set them.
        options = {key: value for key, value in options.items() if key not in {"key_files", "fetch"}}
        return CloudFront.parse(key_files=key_files, fetch=fetch, **options)
    return Redirect.parse(**options) if name == "redirect" else Rewrite.parse(**options)


def _prefixed(at: str, warnings: Iterable[ParameterWarning]) -> list[ParameterWarning]:
    return [ParameterWarning(f"{at}.{warning.field}", warning.message) for warning in warnings]
