"""RegistryStorage: Django's storage API over the driver."""

from __future__ import annotations

import copy
import pickle
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest
from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation
from django.core.files.base import ContentFile, File
from django.core.files.storage import storages
from django.db import models
from django.db.migrations.writer import MigrationWriter
from django.test import override_settings
from storages.backends.s3 import S3Storage

from storagedriver import DriverParameters, RegistryStorage, S3Driver
from tests.storagedriver.test_cloudfront import KEY_PAIR, PKCS8

MIB = 2**20
NAME = "docker/registry/v2/blobs/sha256/ab/abcd/data"


@pytest.fixture
def options(parameters: Callable[..., DriverParameters]) -> dict[str, object]:
    given = parameters()
    return {
        "version": "3",
        "regionendpoint": given.regionendpoint,
        "region": given.region,
        "bucket": given.bucket,
        "accesskey": given.accesskey,
        "secretkey": given.secretkey.reveal(),
        "rootdirectory": given.rootdirectory,
        "chunksize": 5 * MIB,
        "forcepathstyle": True,
    }


@pytest.fixture
def storage(options: dict[str, object]) -> RegistryStorage:
    return RegistryStorage(**options)  # type: ignore[arg-type]


def test_it_works_from_settings(options: dict[str, object]) -> None:
    with override_settings(STORAGES={"registry": {"BACKEND": "storagedriver.RegistryStorage", "OPTIONS": options}}):
        storage = storages["registry"]
        storage.save(NAME, ContentFile(b"content"))
        assert isinstance(storage, S3Storage)
        assert storage.driver.get_content(f"/{NAME}") == b"content"  # type: ignore[attr-defined]


class TestSave:
    @pytest.mark.parametrize("size", [0, 1, 5 * MIB - 1, 5 * MIB, 11 * MIB])
    def test_it_stores_every_size(self, storage: RegistryStorage, size: int) -> None:
        content = secrets.token_bytes(size)
        assert storage.save(NAME, ContentFile(content)) == NAME
        with storage.open(NAME) as file:
            assert file.read() == content

    def test_it_replaces_and_never_renames(self, storage: RegistryStorage) -> None:
        for content in (b"old", b"new"):
            assert storage.save("a/My-File_.GZ", ContentFile(content)) == "a/My-File_.GZ"
        assert storage.driver.get_content("/a/My-File_.GZ") == b"new"

    def test_a_failing_source_publishes_nothing(self, storage: RegistryStorage) -> None:
        class Failing(ContentFile):  # type: ignore[type-arg]
            def read(self, count: int = -1) -> bytes:
                if self.tell() > 5 * MIB:
                    raise OSError("the source broke")
                data: bytes = super().read(count)
                return data

        with pytest.raises(OSError, match="the source broke"):
            storage.save(NAME, Failing(bytes(12 * MIB)))
        assert not storage.exists(NAME)
        assert list(storage.driver.multipart_uploads("/")) == []

    def test_it_takes_a_source_without_seek(self, storage: RegistryStorage) -> None:
        class Stream:
            closed = False

            def __init__(self) -> None:
                self.pieces = [b"one", b"two", b""]

            def seekable(self) -> bool:
                return False

            def read(self, count: int) -> bytes:
                return self.pieces.pop(0)

        storage.save(NAME, File(Stream()))  # type: ignore[arg-type]
        assert storage.driver.get_content(f"/{NAME}") == b"onetwo"

    @pytest.mark.parametrize("name", ["a b", "a//b", "a/../b", "ä"])
    def test_a_name_against_the_path_rule_is_refused(self, storage: RegistryStorage, name: str) -> None:
        with pytest.raises(SuspiciousFileOperation):
            storage.save(name, ContentFile(b""))

    def test_a_name_beyond_the_limit_is_refused(self, storage: RegistryStorage) -> None:
        with pytest.raises(SuspiciousFileOperation, match="longer than 10 characters"):
            storage.save(NAME, ContentFile(b""), max_length=10)


class TestOpen:
    def test_it_reads_a_range_without_the_rest(self, storage: RegistryStorage) -> None:
        content = secrets.token_bytes(MIB)
        storage.driver.put_content(f"/{NAME}", content)
        with storage.open(NAME) as file:
            file.seek(1000)
            assert (file.read(10), file.size, file.tell()) == (content[1000:1010], MIB, 1010)

    def test_a_missing_file_is_not_found(self, storage: RegistryStorage) -> None:
        with pytest.raises(FileNotFoundError, match=NAME):
            storage.open(NAME)

    def test_a_written_file_is_published_on_close(self, storage: RegistryStorage) -> None:
        file = storage.open(NAME, "wb")
        file.write(b"con")
        file.write("tent")  # type: ignore[call-overload]
        assert not storage.exists(NAME)
        file.close()
        file.close()
        assert storage.driver.get_content(f"/{NAME}") == b"content"

    def test_an_exception_publishes_nothing(self, storage: RegistryStorage) -> None:
        def fail() -> None:
            with storage.open(NAME, "wb") as file:
                file.write(bytes(6 * MIB))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert not storage.exists(NAME)
        assert list(storage.driver.multipart_uploads("/")) == []

    def test_a_file_read_is_not_writable(self, storage: RegistryStorage) -> None:
        storage.save(NAME, ContentFile(b"x"))
        with storage.open(NAME) as file:
            assert (file.readable(), file.writable(), file.seekable()) == (True, False, True)
            with pytest.raises(OSError, match="opened for reading"):
                file.write(b"y")

    def test_it_iterates_over_lines(self, storage: RegistryStorage) -> None:
        storage.save(NAME, ContentFile(b"one\ntwo\n"))
        with storage.open(NAME) as file:
            assert list(file) == [b"one\n", b"two\n"]

    @pytest.mark.parametrize("mode", ["a", "ab", "r+b", "x"])
    def test_other_modes_are_refused(self, storage: RegistryStorage, mode: str) -> None:
        with pytest.raises(ValueError, match="use 'rb' or 'wb'"):
            storage.open(NAME, mode)


class TestQueries:
    @pytest.fixture(autouse=True)
    def files(self, storage: RegistryStorage) -> None:
        for path in ("/a/b/c", "/a/d", "/a/d-e/f"):
            storage.driver.put_content(path, b"12345")

    def test_exists(self, storage: RegistryStorage) -> None:
        assert [storage.exists(name) for name in ("a/d", "a", "a/x")] == [True, False, False]

    def test_size(self, storage: RegistryStorage) -> None:
        assert storage.size("a/d") == 5

    @pytest.mark.parametrize("call", ["size", "get_modified_time"])
    @pytest.mark.parametrize("name", ["a/x", "a"])
    def test_what_is_no_file_is_not_found(self, storage: RegistryStorage, call: str, name: str) -> None:
        with pytest.raises(FileNotFoundError):
            getattr(storage, call)(name)

    @pytest.mark.parametrize(
        ("name", "expected"), [("a", (["b", "d-e"], ["d"])), ("", (["a"], [])), ("a/b", ([], ["c"])), ("x", ([], []))]
    )
    def test_listdir(self, storage: RegistryStorage, name: str, expected: object) -> None:
        assert storage.listdir(name) == expected

    def test_delete_takes_the_file_only(self, storage: RegistryStorage) -> None:
        storage.delete("a/d")
        storage.delete("a")
        storage.delete("a/none")
        assert storage.listdir("a") == (["b", "d-e"], [])

    def test_delete_refuses_the_root(self, storage: RegistryStorage) -> None:
        with pytest.raises(SuspiciousFileOperation):
            storage.delete("")

    def test_modified_time_is_aware(self, storage: RegistryStorage) -> None:
        age = datetime.now(UTC) - storage.get_modified_time("a/d")
        assert timedelta(seconds=-2) < age < timedelta(minutes=5)

    def test_modified_time_is_naive_without_time_zones(self, storage: RegistryStorage) -> None:
        with override_settings(USE_TZ=False):
            assert storage.get_modified_time("a/d").tzinfo is None

    def test_url(self, storage: RegistryStorage) -> None:
        with urlopen(storage.url("a/d")) as answer:
            assert answer.read() == b"12345"

    def test_url_with_a_lifetime_and_parameters(self, storage: RegistryStorage) -> None:
        url = storage.url("a/d", parameters={"ResponseContentDisposition": "attachment"}, expire=60)
        query = parse_qs(urlsplit(url).query)
        assert (query["X-Amz-Expires"], query["response-content-disposition"]) == (["60"], ["attachment"])

    def test_the_inherited_bucket_uses_the_same_keys(self, storage: RegistryStorage) -> None:
        assert storage.bucket.Object(storage.driver.key("/a/d")).content_length == 5


def test_url_of_cloudfront(options: dict[str, object]) -> None:
    cloudfront = {"baseurl": "https://d111.cloudfront.net", "keypairid": KEY_PAIR, "privatekey": PKCS8}
    storage = RegistryStorage(cloudfront=cloudfront, **options)  # type: ignore[arg-type]
    assert storage.url("a/d").startswith(f"https://d111.cloudfront.net/{storage.driver.keys.root}/a/d?Expires=")


class TestConfiguration:
    def test_errors_name_the_options(self) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"region: no region parameter provided.*bucket: no bucket"):
            RegistryStorage()

    def test_an_unknown_option_is_refused(self, options: dict[str, object]) -> None:
        with pytest.raises(ImproperlyConfigured, match="does not know the option buckt"):
            RegistryStorage(buckt="x", **options)  # type: ignore[arg-type]

    @pytest.mark.parametrize("cloudfront", [{"baseurl": "x"}, {"baseurl": "", "keypairid": "", "privatekey": ""}])
    def test_bad_cloudfront_options_are_refused(self, options: dict[str, object], cloudfront: dict[str, str]) -> None:
        with pytest.raises(ImproperlyConfigured):
            RegistryStorage(cloudfront=cloudfront, **options)  # type: ignore[arg-type]

    def test_the_environment_gives_no_credentials(
        self, storage: RegistryStorage, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_S3_ACCESS_KEY_ID", "SERVER")
        monkeypatch.setenv("AWS_S3_SECRET_ACCESS_KEY", "server")
        with override_settings(AWS_S3_CUSTOM_DOMAIN="elsewhere.example", AWS_LOCATION="elsewhere"):
            again = RegistryStorage(**options)  # type: ignore[arg-type]
        assert (again.access_key, again.location, again.custom_domain) == (None, storage.driver.keys.root, None)

    def test_the_driver_is_the_registrys(self, storage: RegistryStorage, driver: S3Driver) -> None:
        assert storage.driver.keys == driver.keys


class TestSecrecy:
    def everything(self, value: object, seen: set[int] | None = None) -> Iterator[object]:
        seen = set() if seen is None else seen
        if id(value) in seen:
            return
        seen.add(id(value))
        yield value
        if isinstance(value, dict):
            for item in value.values():
                yield from self.everything(item, seen)
        elif isinstance(value, (list, tuple)):
            for item in value:
                yield from self.everything(item, seen)

    def test_no_attribute_holds_the_secret_in_clear(self, storage: RegistryStorage) -> None:
        assert not [value for value in self.everything(vars(storage)) if "canary" in repr(value)]

    def test_it_is_not_pickled(self, storage: RegistryStorage) -> None:
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(storage)

    def test_it_is_not_copied_into_a_migration(self, storage: RegistryStorage) -> None:
        with pytest.raises(ValueError, match="a callable that returns it"):
            MigrationWriter.serialize(models.FileField(storage=storage))

    def test_it_is_not_deep_copied(self, storage: RegistryStorage) -> None:
        with pytest.raises(TypeError):
            copy.deepcopy(storage)
