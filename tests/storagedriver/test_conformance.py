"""The contract that every storage driver of a registry keeps, on S3. Data differs per chunk, so no mix-up passes.

Of the reference suite's 36 tests the 5 GiB stream is marked nightly; sizes of the concurrent ones are its short mode's.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import string
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from storagedriver import (
    DriverParameters,
    InvalidOffsetError,
    InvalidPathError,
    PathNotFoundError,
    S3Driver,
    StorageDriverError,
)

MIB = 2**20
VALID_PATHS = [
    *("/a", "/2", "/aa", "/a.a", "/0-9/abcdefg", "/abcdefg/z.75", "/abc/1.2.3.4.5-6_zyx/123.z/4"),
    *("/docker/docker-registry", "/123.abc", "/abc./abc", "/.abc", "/a--b", "/a-.b", "/_.abc"),
    *("/Docker/docker-registry", "/Abc/Cba"),
]
INVALID_PATHS = ["", "/", "abc", "123.abc", "//bcd", "/abc_123/"]
CONTENTS = [b"a", b"\xc3\x9f", secrets.token_bytes(32), secrets.token_bytes(MIB), b"\x80\x80\x80\x80"]
CONTENT_IDS = ["one byte", "UTF-8", "32 bytes", "1 MiB", "not UTF-8"]


def random_name(length: int) -> str:
    return "".join(random.choices(string.ascii_lowercase + string.digits, k=length))


def random_path(length: int = 32) -> str:
    """Return a path of about `length` characters in several components."""
    path = ""
    while len(path) < length:
        path += f"/{random_name(random.randint(1, 8))}"
    return path


def write(driver: S3Driver, path: str, content: bytes, *, append: bool = False, publish: bool = True) -> int:
    """Write one session through a writer and return the size it ends with."""
    writer = driver.writer(path, append=append)
    writer.write(content)
    if publish:
        writer.commit()
    writer.close()
    return writer.size


def test_root_exists(driver: S3Driver) -> None:
    assert driver.list("/") == []


def test_valid_paths_side_by_side(driver: S3Driver) -> None:
    contents = {path: secrets.token_bytes(64) for path in VALID_PATHS}
    for path, content in contents.items():
        driver.put_content(path, content)
    assert {path: driver.get_content(path) for path in VALID_PATHS} == contents


@pytest.mark.parametrize("path", INVALID_PATHS)
@pytest.mark.parametrize("call", ["put_content", "get_content", "reader", "writer", "delete"])
def test_invalid_paths(driver: S3Driver, path: str, call: str) -> None:
    arguments = (path, b"x") if call == "put_content" else (path,)
    with pytest.raises(InvalidPathError, match="s3aws: invalid path: ") as caught:
        getattr(driver, call)(*arguments)
    assert caught.value.path == path


@pytest.mark.parametrize("content", CONTENTS, ids=CONTENT_IDS)
def test_write_read(driver: S3Driver, content: bytes) -> None:
    path = random_path()
    driver.put_content(path, content)
    assert driver.get_content(path) == content


@pytest.mark.parametrize("content", CONTENTS, ids=CONTENT_IDS)
def test_write_read_streams(driver: S3Driver, content: bytes) -> None:
    path = random_path()
    assert write(driver, path, content) == len(content)
    with driver.reader(path) as reader:
        assert reader.read() == content


def test_truncate(driver: S3Driver) -> None:
    path = random_path()
    driver.put_content(path, secrets.token_bytes(MIB))
    short = secrets.token_bytes(1024)
    driver.put_content(path, short)
    assert driver.get_content(path) == short


def test_read_nonexistent(driver: S3Driver) -> None:
    with pytest.raises(PathNotFoundError, match="s3aws: Path not found: /nowhere/at-all"):
        driver.get_content("/nowhere/at-all")


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_write_read_large_streams(driver: S3Driver) -> None:
    piece = secrets.token_bytes(64 * MIB)
    path, wrote, read = random_path(), hashlib.sha256(), hashlib.sha256()
    with driver.writer(path) as writer:
        for number in range(5 * 1024 // 64):
            numbered = number.to_bytes(8) + piece[8:]
            wrote.update(numbered)
            writer.write(numbered)
        writer.commit()
    with driver.reader(path) as reader:
        while chunk := reader.read(MIB):
            read.update(chunk)
    assert (writer.size, read.digest()) == (5 * 2**30, wrote.digest())


class TestReaderWithOffset:
    chunks = [secrets.token_bytes(32) for _ in range(3)]

    @pytest.fixture
    def path(self, driver: S3Driver) -> str:
        path = random_path()
        driver.put_content(path, b"".join(self.chunks))
        return path

    @pytest.mark.parametrize("offset", [0, 32, 64, 95, 96, 97, 1000])
    def test_it_reads_from_the_offset(self, driver: S3Driver, path: str, offset: int) -> None:
        with driver.reader(path, offset) as reader:
            assert reader.read() == b"".join(self.chunks)[offset:]

    def test_it_reads_the_last_byte_and_then_nothing(self, driver: S3Driver, path: str) -> None:
        with driver.reader(path, 95) as reader:
            assert [len(reader.read(10)), len(reader.read(10))] == [1, 0]

    def test_it_refuses_a_negative_offset(self, driver: S3Driver, path: str) -> None:
        with pytest.raises(InvalidOffsetError, match=f"s3aws: invalid offset: -1 for path: {path}") as caught:
            driver.reader(path, -1)
        assert (caught.value.offset, caught.value.path) == (-1, path)

    def test_a_negative_offset_is_seen_before_a_bad_path(self, driver: S3Driver) -> None:
        with pytest.raises(InvalidOffsetError):
            driver.reader("no path", -1)


@pytest.mark.parametrize("size", [32, 10 * MIB, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1])
def test_continue_stream_append(parameters: Callable[..., DriverParameters], size: int) -> None:
    """Each session runs in a driver of its own, as in another process."""
    chunks, path = [secrets.token_bytes(size) for _ in range(3)], random_path()
    assert write(S3Driver(parameters()), path, chunks[0], publish=False) == size
    second = S3Driver(parameters()).writer(path, append=True)
    assert second.size == size
    second.write(chunks[1])
    second.close()
    assert second.size == 2 * size
    driver = S3Driver(parameters())
    third = driver.writer(path, append=True)
    assert third.size == 2 * size
    third.write(chunks[2])
    third.commit()
    third.close()
    assert driver.get_content(path) == b"".join(chunks)
    assert list(driver.multipart_uploads("/")) == []


@pytest.mark.parametrize("offset", [0, 64])
def test_read_nonexistent_stream(driver: S3Driver, offset: int) -> None:
    with pytest.raises(PathNotFoundError):
        driver.reader(random_path(), offset)


@pytest.mark.parametrize("make", ["stream", "content"])
def test_write_zero_bytes_then_append(driver: S3Driver, make: str) -> None:
    path, content = random_path(), secrets.token_bytes(32)
    if make == "stream":
        assert write(driver, path, b"") == 0
    else:
        driver.put_content(path, b"")
    with driver.reader(path) as reader:
        assert reader.read() == b""
    assert write(driver, path, content, append=True) == 32
    assert driver.get_content(path) == content


def test_list(driver: S3Driver) -> None:
    root = f"/{random_name(10)}"
    with pytest.raises(PathNotFoundError) as caught:
        driver.list(f"{root}/nonexistent")
    assert caught.value.path == f"{root}/nonexistent"
    parent = f"{root}/{random_name(10)}"
    files = sorted({f"{parent}/{random_name(12)}" for _ in range(50)})
    for file in files:
        driver.put_content(file, secrets.token_bytes(32))
    assert driver.list("/") == [root]
    assert driver.list(root) == [parent]
    assert sorted(driver.list(parent)) == files


def test_move(driver: S3Driver) -> None:
    source, destination, content = random_path(), random_path(), secrets.token_bytes(32)
    driver.put_content(source, content)
    driver.move(source, destination)
    assert driver.get_content(destination) == content
    with pytest.raises(PathNotFoundError):
        driver.get_content(source)


def test_move_overwrites(driver: S3Driver) -> None:
    source, destination, content = random_path(), random_path(), secrets.token_bytes(32)
    driver.put_content(source, content)
    driver.put_content(destination, secrets.token_bytes(64))
    driver.move(source, destination)
    assert driver.get_content(destination) == content
    with pytest.raises(PathNotFoundError):
        driver.get_content(source)


def test_move_nonexistent(driver: S3Driver) -> None:
    destination, content = random_path(), secrets.token_bytes(32)
    driver.put_content(destination, content)
    with pytest.raises(PathNotFoundError):
        driver.move(random_path(), destination)
    assert driver.get_content(destination) == content


def test_move_invalid(driver: S3Driver) -> None:
    driver.put_content("/notadir", secrets.token_bytes(32))
    with pytest.raises(StorageDriverError):
        driver.move("/notadir/foo", "/notadir/bar")


def test_delete(driver: S3Driver) -> None:
    path = random_path()
    driver.put_content(path, b"x")
    driver.delete(path)
    with pytest.raises(PathNotFoundError):
        driver.get_content(path)


def test_redirect_url_get(driver: S3Driver) -> None:
    path, content = random_path(), secrets.token_bytes(32)
    driver.put_content(path, content)
    url = driver.redirect_url(path)
    assert url is not None
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == content


def test_redirect_url_head(driver: S3Driver) -> None:
    path = random_path()
    driver.put_content(path, secrets.token_bytes(32))
    url = driver.redirect_url(path, method="HEAD")
    assert url is not None
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, "32")


def test_delete_nonexistent(driver: S3Driver) -> None:
    with pytest.raises(PathNotFoundError):
        driver.delete(random_path())


def test_delete_folder(driver: S3Driver) -> None:
    folder = random_path()
    files = [f"{folder}{random_path()}" for _ in range(3)]
    for file in files:
        driver.put_content(file, secrets.token_bytes(32))
    driver.delete(files[0])
    assert [_exists(driver, file) for file in files] == [False, True, True]
    driver.delete(folder)
    assert [_exists(driver, file) for file in files] == [False, False, False]


def test_delete_only_deletes_subpaths(driver: S3Driver) -> None:
    folder, file = random_path(), random_path()
    kept = [f"{folder}{file}suffix", f"{folder}{folder}suffix{file}"]
    gone = [folder + file, folder + folder + file]
    for path in kept + gone:
        driver.put_content(path, secrets.token_bytes(32))
    driver.delete(folder + file)
    driver.delete(folder + folder)
    assert [_exists(driver, path) for path in kept + gone] == [True, True, False, False]


def test_stat(driver: S3Driver) -> None:
    folder = random_path()
    file = f"{folder}/{random_name(32)}"
    for path in (folder, file):
        with pytest.raises(PathNotFoundError):
            driver.stat(path)
    driver.put_content(file, secrets.token_bytes(4096))
    found, above = driver.stat(file), driver.stat(folder)
    assert (found.path, found.size, found.is_dir) == (file, 4096, False)
    assert found.mod_time is not None
    assert found.mod_time.utcoffset() is not None
    assert (above.path, above.size, above.is_dir) == (folder, 0, True)
    assert driver.stat("/").is_dir


def test_put_content_multiple_times(driver: S3Driver) -> None:
    path, second = random_path(), secrets.token_bytes(2048)
    driver.put_content(path, secrets.token_bytes(4096))
    driver.put_content(path, second)
    assert driver.get_content(path) == second


def test_concurrent_stream_reads(driver: S3Driver) -> None:
    path, content = random_path(), secrets.token_bytes(10 * MIB)
    driver.put_content(path, content)

    def read(offset: int) -> bool:
        with driver.reader(path, offset) as reader:
            return reader.read() == content[offset:]

    with ThreadPoolExecutor(10) as executor:
        assert all(executor.map(read, random.sample(range(len(content)), 10)))


def test_concurrent_file_streams(driver: S3Driver) -> None:
    def write_and_read(path: str) -> bool:
        content = secrets.token_bytes(8 * MIB)
        write(driver, path, content)
        return driver.get_content(path) == content

    with ThreadPoolExecutor(8) as executor:
        assert all(executor.map(write_and_read, [f"{random_path()}/{number}" for number in range(8)]))


def _exists(driver: S3Driver, path: str) -> bool:
    try:
        driver.stat(path)
    except PathNotFoundError:
        return False
    return True
