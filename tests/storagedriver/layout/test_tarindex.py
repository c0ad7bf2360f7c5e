from __future__ import annotations

import contextlib
import io
import random
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagedriver.layout import tarindex
from storagedriver.layout.errors import ArchiveError
from storagedriver.layout.tarindex import TarIndex

DAMAGED = "damaged or ends early"


def member(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return info, content


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind=tarfile.SYMTYPE, link=target)


def pack(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def index(content: bytes) -> TarIndex:
    return TarIndex(io.BytesIO(content))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_it_reads_members(form: int) -> None:
    tar = index(pack(member("dir", kind=tarfile.DIRTYPE), member("./dir/a", b"abc"), member("empty"), form=form))
    assert list(tar) == ["dir/a", "empty"]
    assert (tar.size("dir/a"), tar.read("dir/a", 3), tar.read("empty", 3)) == (3, b"abc", b"")


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_it_reads_long_names(form: int) -> None:
    name = "/".join(["part" * 20] * 4)
    assert index(pack(member(name, b"abc"), form=form)).read(name, 3) == b"abc"


def test_links_lead_to_their_targets() -> None:
    tar = index(
        pack(
            member("a/layer.tar", b"abc"),
            symlink("b/layer.tar", "../a/layer.tar"),
            symlink("c/layer.tar", "../b/layer.tar"),
            member("d/layer.tar", kind=tarfile.LNKTYPE, link="a/layer.tar"),
            symlink("nowhere", "else"),
        )
    )
    for name in ("b/layer.tar", "c/layer.tar", "d/layer.tar"):
        assert tar.read(name, 3) == b"abc"
        assert tar.identity(name) == tar.identity("a/layer.tar")
    with pytest.raises(ArchiveError, match="lacks 'nowhere'"):
        tar.open("nowhere")


def test_a_missing_member_is_named() -> None:
    with pytest.raises(ArchiveError, match="lacks 'x'"):
        index(pack(member("a"))).size("x")


def test_a_member_over_the_limit_is_not_read() -> None:
    with pytest.raises(ArchiveError, match="'a' in the archive has 3 bytes; at most 2"):
        index(pack(member("a", b"abc"))).read("a", 2)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([member("../a")], "leads out of the archive"),
        ([member("a/../../b")], "leads out of the archive"),
        ([member("/etc/passwd")], "leads out of the archive"),
        ([member("..\\a")], "leads out of the archive"),
        ([symlink("a", "../b")], "leads out of the archive"),
        ([symlink("a", "/etc/passwd")], "leads out of the archive"),
        ([member("a", kind=tarfile.LNKTYPE, link="../b")], "leads out of the archive"),
        ([symlink("a", "a")], "leads to itself"),
        ([symlink("a", "b"), symlink("b", "c"), symlink("c", "a")], "leads to itself"),
        ([member("a", kind=tarfile.CHRTYPE)], "a device or pipe"),
        ([member("a", kind=tarfile.BLKTYPE)], "a device or pipe"),
        ([member("a", kind=tarfile.FIFOTYPE)], "a device or pipe"),
        ([member("a", kind=b"Z")], "unknown kind"),
        ([member("a"), member("./a")], "two members named 'a'"),
        ([member("a"), symlink("a", "b")], "two members named 'a'"),
    ],
)
def test_it_refuses_members_that_no_image_archive_has(
    members: list[tuple[tarfile.TarInfo, bytes]], problem: str
) -> None:
    with pytest.raises(ArchiveError, match=problem):
        index(pack(*members))


def test_it_refuses_a_sparse_member() -> None:
    info, content = member("a", bytes(512))
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9" * 12}
    with pytest.raises(ArchiveError):
        index(pack((info, content)))


def test_it_refuses_too_many_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarindex, "MAX_MEMBERS", 10)
    with pytest.raises(ArchiveError, match="more than 10 members"):
        index(pack(*(member(str(number)) for number in range(11))))


@pytest.mark.parametrize("content", [b"", b"x", b"nonsense" * 1000, bytes(100), b"\x00" * 5 + b"x" * 5000])
def test_what_is_no_tar_is_refused(content: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"not a tar archive|damaged"):
        index(content)


@pytest.mark.parametrize("keep", [511, 512, 600, 1023, 1024, 1100, 1536, 2047])
def test_a_cut_archive_is_refused(keep: int) -> None:
    content = pack(member("a", b"a" * 100), member("b", b"b" * 100), form=tarfile.USTAR_FORMAT)
    with pytest.raises(ArchiveError, match=f"{DAMAGED}|not a tar"):
        index(content[:keep])


def test_garbage_between_members_is_refused() -> None:
    content = bytearray(pack(member("a", b"a" * 100), member("b", b"b"), form=tarfile.USTAR_FORMAT))
    content[1024:1124] = b"!" * 100
    with pytest.raises(ArchiveError, match=DAMAGED):
        index(bytes(content))


def raw_header(name: str, size: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    block = bytearray(member(name, kind=kind)[0].tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


NEGATIVE = b"\xff" * 11 + b"\x00"  # base 256, two's complement


@pytest.mark.parametrize(
    "content",
    [
        raw_header("a", b"77777777777\0") + bytes(2048),
        raw_header("a", b"\x80" + b"\x7f" * 11) + bytes(2048),
        pack(member("b"))[:512] + raw_header("a", NEGATIVE) + bytes(2048),
        raw_header("a", b"77777777777\0", tarfile.XHDTYPE) + bytes(2048),
        raw_header("a", NEGATIVE, tarfile.XHDTYPE) + bytes(2048),
        raw_header("a", b"77777777777\0", tarfile.GNUTYPE_LONGNAME) + bytes(2048),
        raw_header("a", NEGATIVE, tarfile.GNUTYPE_LONGNAME) + bytes(2048),
        (raw_header("a", b"00000000001\0", tarfile.GNUTYPE_LONGNAME) + b"x".ljust(512, b"\0")) * 5000,
        (raw_header("a", b"00000000000\0", tarfile.XGLTYPE)) * 5000,
    ],
)
def test_lying_sizes_neither_fill_the_memory_nor_loop(content: bytes) -> None:
    with pytest.raises(ArchiveError):
        index(content)


@pytest.mark.parametrize("size", ["-512", "-1024", "9" * 30, "9" * 5000, "x"])
def test_lying_sizes_in_extended_headers_are_refused(size: str) -> None:
    info, content = member("a", b"abc")
    info.pax_headers = {"size": size}
    with pytest.raises(ArchiveError):
        index(pack(member("first"), (info, content)))


@given(st.randoms(use_true_random=False), st.integers(1, 20))
def test_a_damaged_archive_raises_nothing_but_archive_errors(chance: random.Random, changes: int) -> None:
    long = member("long/" * 30 + "name", b"abc")
    content = bytearray(pack(member("a", b"a" * 100), long, symlink("b", "a"), form=chance.choice([0, 1, 2])))
    for _ in range(changes):
        content[chance.randrange(len(content))] = chance.randrange(256)
    for start in range(0, len(content), 512):  # make the checksums right again, or no header would be believed
        block = content[start : start + 512]
        if block.strip(b"\0"):
            block[148:156] = b" " * 8
            content[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    with contextlib.suppress(ArchiveError):
        index(bytes(content[: chance.randrange(len(content) + 1)]))


def test_streams_can_be_read_at_the_same_time() -> None:
    contents = {str(number): bytes([number]) * 300_000 for number in range(8)}
    tar = index(pack(*(member(name, content) for name, content in contents.items())))

    def read(name: str) -> bytes:
        with tar.open(name) as stream:
            return b"".join(iter(lambda: stream.read(1000), b""))

    with ThreadPoolExecutor(8) as pool:
        assert dict(zip(contents, pool.map(read, contents), strict=True)) == contents
