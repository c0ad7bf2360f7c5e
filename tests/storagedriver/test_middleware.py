"""Redirect, rewrite, and middlewares in a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from storagedriver import DriverParameters, InvalidPathError, ParameterErrors, S3Driver, UnsupportedMethodError
from storagedriver.middleware import Chain, Redirect, Rewrite, build
from tests.storagedriver.test_cloudfront import KEY_PAIR, PKCS1
from tests.storagedriver.test_middleware_ranges import document

CLOUDFRONT = {"baseurl": "https://d111.cloudfront.net", "keypairid": KEY_PAIR, "privatekey": PKCS1}
INSIDE = "192.168.1.2"


class TestRedirect:
    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({}, "no baseurl provided"),
            ({"baseurl": None}, "no baseurl provided"),
            ({"baseurl": 7}, "baseurl must be a string"),
            ({"baseurl": "example.com"}, "no scheme specified for redirect baseurl"),
            ({"baseurl": "example.com:5443/path"}, "no scheme specified for redirect baseurl"),
            ({"baseurl": "https:///path"}, "no host specified for redirect baseurl"),
            ({"baseurl": "https://x:port"}, "unable to parse redirect baseurl: https://x:port"),
            ({"baseurl": "https://x?a=b"}, "unable to parse redirect baseurl"),
            ({"baseurl": "https://user@x"}, "unable to parse redirect baseurl"),
            ({"baseurl": "ftp://x"}, "unable to parse redirect baseurl"),
        ],
    )
    def test_it_refuses(self, options: dict[str, object], text: str) -> None:
        with pytest.raises(ParameterErrors, match=text.replace("?", r"\?")):
            Redirect.parse(**options)

    @pytest.mark.parametrize(
        ("baseurl", "path", "url"),
        [
            ("https://example.com:5443", "/rick/data", "https://example.com:5443/rick/data"),
            ("http://example.com", "morty/data", "http://example.com/morty/data"),
            ("https://example.com/path", "/morty/data", "https://example.com/path/morty/data"),
            ("https://example.com/path", "morty/data", "https://example.com/path/morty/data"),
            ("https://example.com/path/", "/morty/data", "https://example.com/path/morty/data"),
            ("https://example.com/path/", "morty/data", "https://example.com/path/morty/data"),
            ("https://[2001:db8::1]:5443/a/b", "/morty/data", "https://[2001:db8::1]:5443/a/b/morty/data"),
        ],
    )
    def test_it_puts_the_path_behind_the_base(self, baseurl: str, path: str, url: str) -> None:
        assert Redirect.parse(baseurl=baseurl).url(path) == url


class TestRewrite:
    @pytest.mark.parametrize("option", ["scheme", "host", "trimpathprefix"])
    def test_it_refuses_what_is_no_text(self, option: str) -> None:
        with pytest.raises(ParameterErrors, match=f"{option} must be a string"):
            Rewrite.parse(**{option: 1})

    @pytest.mark.parametrize("options", [{"scheme": "javascript"}, {"host": "x/y"}, {"host": "a@b"}])
    def test_it_refuses_what_makes_another_url(self, options: dict[str, str]) -> None:
        with pytest.raises(ParameterErrors):
            Rewrite.parse(**options)

    @pytest.mark.parametrize(
        ("options", "url", "expected"),
        [
            ({}, "https://some.host/some/path/file?a=b%2F", "https://some.host/some/path/file?a=b%2F"),
            ({"scheme": "http", "host": "cdn:80"}, "https://some.host/file?a=b", "http://cdn:80/file?a=b"),
            ({"trimpathprefix": "/some/path"}, "http://some.host/some/path/file", "http://some.host/file"),
            ({"trimpathprefix": "/other"}, "http://some.host/some/path/file", "http://some.host/some/path/file"),
        ],
    )
    def test_it_rewrites(self, options: dict[str, str], url: str, expected: str) -> None:
        assert Rewrite.parse(**options).url(url) == expected


@pytest.fixture
def driver(parameters: Callable[..., DriverParameters]) -> S3Driver:
    return S3Driver(parameters())


def section(name: object, /, disabled: object = False, **options: object) -> dict[str, object]:
    return {"name": name, "options": options, "disabled": disabled}


class TestBuild:
    def chain(self, driver: S3Driver, *sections: Mapping[str, object]) -> Chain:
        return build(sections, driver, fetch=lambda url: document("192.168.1.0/24"))

    def test_no_middleware_leaves_the_drivers_url(self, driver: S3Driver) -> None:
        assert "X-Amz-Signature" in str(self.chain(driver).redirect_url("/x"))

    def test_cloudfront_signs_the_whole_key(self, driver: S3Driver) -> None:
        url = str(self.chain(driver, section("cloudfront", **CLOUDFRONT)).redirect_url("/docker/x", "HEAD"))
        assert url.startswith(f"https://d111.cloudfront.net/{driver.keys.root}/docker/x?Expires=")

    def test_redirect_leaves_the_root_directory_out(self, driver: S3Driver) -> None:
        chain = self.chain(driver, section("redirect", baseurl="https://mirror.example.com"))
        assert chain.redirect_url("/docker/x") == "https://mirror.example.com/docker/x"

    def test_rewrite_changes_the_drivers_url(self, driver: S3Driver) -> None:
        url = urlsplit(str(self.chain(driver, section("rewrite", host="cdn.example.com")).redirect_url("/x")))
        assert (url.netloc, "X-Amz-Signature" in url.query) == ("cdn.example.com", True)

    def test_the_last_one_has_the_last_word(self, driver: S3Driver) -> None:
        both = section("redirect", baseurl="https://a.example.com"), section("rewrite", host="b.example.com")
        assert self.chain(driver, *both).redirect_url("/x") == "https://b.example.com/x"
        assert self.chain(driver, *reversed(both)).redirect_url("/x") == "https://a.example.com/x"

    def test_rewrite_after_cloudfront_sees_both_answers(self, driver: S3Driver) -> None:
        chain = self.chain(
            driver, section("cloudfront", **CLOUDFRONT, ipfilteredby="aws"), section("rewrite", host="b.example.com")
        )
        cloudfront = chain.middlewares[0]
        cloudfront.addresses.refresh()  # type: ignore[union-attr]
        assert "X-Amz-Signature" in str(chain.redirect_url("/x", client_ip=INSIDE))
        assert "Key-Pair-Id" in str(chain.redirect_url("/x", client_ip="10.0.0.1"))

    def test_cloudfront_after_another_has_no_effect(self, driver: S3Driver) -> None:
        chain = self.chain(
            driver, section("redirect", baseurl="https://a.example.com"), section("cloudfront", **CLOUDFRONT)
        )
        assert chain.redirect_url("/x") == "https://a.example.com/x"
        assert chain.warnings == (("2 cloudfront", "has no effect after another middleware; put cloudfront first"),)

    def test_a_disabled_one_is_left_out(self, driver: S3Driver) -> None:
        chain = self.chain(
            driver,
            section("redirect", disabled=True, baseurl="https://a.example.com"),
            section("cloudfront", **CLOUDFRONT),
        )
        assert "d111.cloudfront.net" in str(chain.redirect_url("/x"))
        (warning,) = chain.warnings
        assert warning.field == "1 redirect"
        assert "a registry ignores that" in warning.message

    def test_warnings_of_options_name_their_section(self, driver: S3Driver) -> None:
        (warning,) = self.chain(driver, section("cloudfront", **CLOUDFRONT, urlprefix="x")).warnings
        assert warning.field == "1 cloudfront.urlprefix"

    def test_all_errors_come_at_once(self, driver: S3Driver) -> None:
        with pytest.raises(ParameterErrors) as caught:
            self.chain(
                driver,
                section("alicdn"),
                section("redirect"),
                {"name": "rewrite", "options": ["host"]},
                section("cloudfront", **CLOUDFRONT | {"keypairid": ""}),
                {},
            )
        assert list(caught.value) == [
            "1 alicdn",
            "2 redirect.baseurl",
            "3 rewrite",
            "4 cloudfront.keypairid",
            "5 None",
        ]
        assert "no storage middleware registered with name: alicdn" in str(caught.value)

    def test_a_section_cannot_make_it_read_files(self, driver: S3Driver, tmp_path: Path) -> None:
        (tmp_path / "key.pem").write_text(PKCS1)
        options: dict[str, object] = {**CLOUDFRONT, "privatekey": str(tmp_path / "key.pem")}
        with pytest.raises(ParameterErrors, match="paste the whole file"):
            self.chain(driver, {"name": "cloudfront", "options": options | {"key_files": True}})

    def test_key_files_are_read_when_allowed(self, driver: S3Driver, tmp_path: Path) -> None:
        (tmp_path / "key.pem").write_text(PKCS1)
        options = CLOUDFRONT | {"privatekey": str(tmp_path / "key.pem")}
        chain = build([{"name": "cloudfront", "options": options}], driver, key_files=True)
        assert "Key-Pair-Id" in str(chain.redirect_url("/x"))

    @pytest.mark.parametrize("name", ["redirect", "rewrite"])
    def test_pushes_are_the_drivers_own(self, parameters: Callable[..., DriverParameters], name: str) -> None:
        options = {"baseurl": "https://a.example.com"} if name == "redirect" else {"host": "a.example.com"}
        sections = [section(name, **options)]
        assert build(sections, S3Driver(parameters())).redirect_url("/x", "PUT") is None
        old = S3Driver(
            DriverParameters.parse({"region": "us-east-1", "bucket": "images", "v4auth": True}, version="2.8")
        )
        with pytest.raises(UnsupportedMethodError):
            build(sections, old).redirect_url("/x", "PUT")

    def test_a_path_against_the_rule_is_refused(self, driver: S3Driver) -> None:
        with pytest.raises(InvalidPathError):
            self.chain(driver, section("redirect", baseurl="https://a.example.com")).redirect_url("/a/../b")
