from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from storagedriver.layout import manifests
from storagedriver.layout.archives import (
    ArchiveBlob,
    ArchiveImage,
    ArchiveManifest,
    ImageArchive,
    open_archive,
    write_oci_archive,
)
from storagedriver.layout.digests import digest_of
from storagedriver.layout.errors import ArchiveError
from storagedriver.layout.manifests import parse_manifest

MIB = 1024 * 1024
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
REF_NAME = "org.opencontainers.image.ref.name"


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def tar_of(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in files.items():
            add(tar, name, content)
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return file.getvalue()


def layer(text: str, size: int = 5000) -> bytes:
    return tar_of({"etc/text": (text.encode() * size)[:size]})


BASE, TOP = layer("base "), layer("top ")


def config_of(*layers: bytes, **more: Any) -> bytes:
    diff_ids = [digest_of(content) for content in layers]
    return json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids}} | more).encode()


def docker_archive(
    *images: tuple[list[str], list[bytes]], links: dict[str, str] | None = None, **more: bytes
) -> dict[str, bytes]:
    """The members of a docker-archive as skopeo writes it: (names, layers) for each image."""
    members: dict[str, bytes] = {}
    items = []
    for names, layers in images:
        config = config_of(*layers)
        config_name = f"{digest_of(config)[7:]}.json"
        layer_names = [f"{digest_of(content)[7:]}.tar" for content in layers]
        members |= {config_name: config} | dict(zip(layer_names, layers, strict=True))
        items.append({"Config": config_name, "RepoTags": names, "Layers": layer_names})
    return members | {"manifest.json": json.dumps(items).encode()} | more


def descriptor(content: ArchiveBlob | ArchiveManifest, **more: Any) -> dict[str, Any]:
    return {"mediaType": content.media_type, "digest": content.digest, "size": content.size} | more


def oci_manifest(content: dict[str, Any], media_type: str) -> ArchiveManifest:
    raw = json.dumps({"schemaVersion": 2, "mediaType": media_type} | content).encode()
    return ArchiveManifest(digest_of(raw), raw, media_type)


def oci_image(*layers: bytes, media_type: str = OCI_LAYER, **more: Any) -> tuple[ArchiveManifest, list[ArchiveBlob]]:
    """The manifest and the blobs of an OCI image."""
    packed = [content if media_type.endswith(".tar") else gzip.compress(content, mtime=0) for content in layers]
    blobs = [*(ArchiveBlob.of(content, media_type) for content in packed)]
    config = ArchiveBlob.of(config_of(*layers, **more), manifests.OCI_CONFIG)
    document = {"config": descriptor(config), "layers": [descriptor(blob) for blob in blobs]}
    return oci_manifest(document, manifests.OCI_MANIFEST), [*blobs, config]


def oci_index(*children: dict[str, Any]) -> ArchiveManifest:
    return oci_manifest({"manifests": list(children)}, manifests.OCI_INDEX)


def layout(contents: Iterable[ArchiveBlob | ArchiveManifest], *roots: dict[str, Any]) -> dict[str, bytes]:
    """The members of an oci-archive, for tests to spoil."""
    members = {"oci-layout": b"{}", "index.json": oci_index(*roots).content}
    for content in contents:
        with content.open() as stream:
            members[f"blobs/{content.digest.replace(':', '/')}"] = stream.read()
    return members


def sample_layout() -> dict[str, bytes]:
    manifest, blobs = oci_image(BASE, TOP)
    return layout([*blobs, manifest], descriptor(manifest, annotations={REF_NAME: "app:1"}))


_opened: list[ImageArchive] = []


@pytest.fixture(autouse=True)
def _close_archives() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def opened(content: bytes, **options: Any) -> ImageArchive:
    archive = open_archive(io.BytesIO(content), **options)
    _opened.append(archive)
    return archive


def images_in(members: dict[str, bytes], **links: str) -> list[ArchiveImage]:
    return opened(tar_of(members, links)).images


def content_of(image: ArchiveImage) -> dict[str, bytes]:
    contents = {}
    for blob in image.blobs:
        with blob.open() as stream:
            contents[blob.digest] = stream.read()
            assert len(contents[blob.digest]) == blob.size
    return contents


def check_publishable(image: ArchiveImage) -> None:
    """Whoever publishes blobs and then manifests in order never names what is not there yet."""
    published = set(content_of(image))
    for manifest in image.manifests:
        assert digest_of(manifest.content) == manifest.digest
        parsed = parse_manifest(manifest.content, manifest.media_type)
        assert {part.digest for part in parsed.descriptors()} <= published
        published.add(manifest.digest)
    assert image.manifests[-1].digest == image.root


# docker-archive


def test_a_docker_archive_becomes_a_schema_2_image() -> None:
    (image,) = images_in(docker_archive((["app:1", "app:latest"], [BASE, TOP])))
    check_publishable(image)
    parsed = parse_manifest(image.manifests[0].content)
    assert image.references == ("app:1", "app:latest")
    assert parsed.media_type == manifests.SCHEMA2
    contents = content_of(image)
    assert parsed.config is not None
    assert contents[parsed.config.digest] == config_of(BASE, TOP)
    assert [gzip.decompress(contents[part.digest]) for part in parsed.layers] == [BASE, TOP]


def test_the_same_archive_always_gives_the_same_digest() -> None:
    members = docker_archive((["app:1"], [BASE, TOP]))
    (image,), (again,) = images_in(members), images_in(dict(reversed(members.items())))
    assert image.root == again.root


def test_layers_that_are_linked_or_shared_are_taken_once() -> None:
    """docker save before 25 has a folder for each layer, and links those that are equal."""
    config = config_of(BASE, TOP, BASE)
    layers = ["1/layer.tar", "2/layer.tar", "3/layer.tar"]
    members = {
        "1/layer.tar": BASE,
        "2/layer.tar": TOP,
        "c.json": config,
        "manifest.json": json.dumps([{"Config": "c.json", "RepoTags": None, "Layers": layers}] * 2).encode(),
    }
    image, same = images_in(members, **{"3/layer.tar": "../1/layer.tar"})
    check_publishable(image)
    assert image.references == ()
    assert len(parse_manifest(image.manifests[0].content).layers) == 3
    assert len(image.blobs) == 3
    assert same.root == image.root


def test_compressed_layers_are_kept_as_they_are() -> None:
    packed = gzip.compress(BASE, mtime=1)
    members = docker_archive(([], [BASE]))
    members[next(name for name in members if name.endswith(".tar"))] = packed
    (image,) = images_in(members)
    check_publishable(image)
    assert digest_of(packed) in content_of(image)


def test_an_image_without_layers_is_an_image() -> None:
    (image,) = images_in(docker_archive(([], [])))
    check_publishable(image)


def test_several_images_come_in_order() -> None:
    first, second = images_in(docker_archive((["a:1"], [BASE]), (["b:1"], [BASE, TOP])))
    assert (first.references, second.references) == (("a:1",), ("b:1",))
    check_publishable(second)


def test_opening_compresses_nothing() -> None:
    worked: list[int] = []
    archive = opened(tar_of(docker_archive((["a:1"], [BASE, TOP]))), progress=worked.append)
    assert archive.references == [("a:1",)]
    assert not worked
    assert archive.images
    assert sum(worked) == len(BASE) + len(TOP)


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b"{}", "names no image"),
        (b"[]", "names no image"),
        (b"[1]", "names no image"),
        (b"[{}]", "does not name a config"),
        (b'[{"Config":1}]', "does not name a config"),
        (b'[{"Config":"c.json","Layers":"x"}]', "does not name a config"),
        (b'[{"Config":"c.json","Layers":[1]}]', "does not name a config"),
        (b'[{"Config":"c.json","RepoTags":{"a":1}}]', "does not name a config"),
        (b'[{"Config":"d.json"}]', "lacks 'd.json'"),
        (b'[{"Config":"../../etc/passwd"}]', "lacks '../../etc/passwd'"),
        (b'[{"Config":"c.json","Layers":["x.tar"]}]', "lacks 'x.tar'"),
        (b'[{"Config":"c.json","Layers":[]}]', "names 1 layers, manifest.json 0"),
        (b'[{"Config":"l.tar","Layers":["l.tar"]}]', "'l.tar' in the archive is not sound"),
        (b'[{"Config":"c.json","Layers":["c.json"]}]', "'c.json' does not match 'sha256:"),
        (b" " * (4 * MIB + 1), "at most 4194304"),
    ],
)
def test_a_docker_archive_that_is_wrong_is_refused(manifest: bytes, problem: str) -> None:
    with pytest.raises(ArchiveError, match=problem):
        images_in({"c.json": config_of(BASE), "l.tar": BASE, "manifest.json": manifest})


def test_a_layer_that_is_not_the_configs_is_refused() -> None:
    members = docker_archive(([], [BASE]))
    members[next(name for name in members if name.endswith(".tar"))] = TOP
    with pytest.raises(ArchiveError, match=r"does not match 'sha256:.*damaged"):
        images_in(members)


@pytest.mark.parametrize(
    ("packed", "problem"),
    [
        (gzip.compress(BASE)[:-9], "not sound gzip"),
        (gzip.compress(BASE)[:-1] + b"!", "not sound gzip"),
        (b"\x1f\x8bnonsense", "not sound gzip"),
        (b"\x28\xb5\x2f\xfdrest", "compressed with zstd"),
        (b"\xfd7zXZrest", "compressed with xz"),
    ],
)
def test_a_compressed_layer_that_is_wrong_is_refused(packed: bytes, problem: str) -> None:
    members = docker_archive(([], [BASE]))
    members[next(name for name in members if name.endswith(".tar"))] = packed
    with pytest.raises(ArchiveError, match=problem):
        images_in(members)


def test_a_layer_that_unpacks_to_too_much_is_refused() -> None:
    content = bytes(5_000_000)
    members = docker_archive(([], [content]))
    members[next(name for name in members if name.endswith(".tar"))] = gzip.compress(content)
    with pytest.raises(ArchiveError, match="unpack to more than is allowed"):
        _ = opened(tar_of(members), max_bytes=4_000_000).images


# oci-archive


def test_an_oci_archive_is_published_byte_for_byte() -> None:
    manifest, blobs = oci_image(BASE, TOP)
    (image,) = images_in(sample_layout())
    check_publishable(image)
    assert image.references == ("app:1",)
    assert image.manifests == (manifest,)
    assert list(image.blobs) == blobs


def two_platforms() -> tuple[ArchiveManifest, dict[str, bytes], list[ArchiveManifest]]:
    """An index of two images, the first with an attestation, in an index; and the members of its archive."""
    amd, amd_blobs = oci_image(BASE, TOP)
    arm, arm_blobs = oci_image(BASE, architecture="arm64")
    statement, statement_blobs = oci_image(b"{}", media_type="application/vnd.in-toto+json")
    annotations = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": amd.digest}
    inner = oci_index(
        descriptor(amd, platform={"os": "linux", "architecture": "amd64"}),
        descriptor(arm, platform={"os": "linux", "architecture": "arm64"}),
        descriptor(statement, platform={"os": "unknown", "architecture": "unknown"}, annotations=annotations),
    )
    contents = [*amd_blobs, *arm_blobs, *statement_blobs, amd, arm, statement, inner]
    return inner, layout(contents, descriptor(inner)), [amd, arm, statement]


def test_an_index_comes_after_its_images() -> None:
    inner, members, children = two_platforms()
    (image,) = images_in(members)
    check_publishable(image)
    assert image.manifests == (*children, inner)
    assert image.left_out == ()
    digests = [blob.digest for blob in image.blobs]
    assert len(digests) == len(set(digests))


def test_an_index_of_which_one_image_is_there_gives_that_image() -> None:
    """Docker with the containerd store saves the whole index and the images that it has pulled."""
    _, members, (amd, arm, statement) = two_platforms()
    for gone in (amd, statement):
        del members[f"blobs/{gone.digest.replace(':', '/')}"]
    (image,) = images_in(members)
    check_publishable(image)
    assert image.root == arm.digest
    assert image.left_out == ("linux/amd64",)


def test_an_index_of_which_some_images_are_there_is_refused() -> None:
    _, members, _ = two_platforms()
    other, _ = oci_image(TOP, architecture="s390x")
    index = json.loads(members["index.json"])
    inner = json.loads(members[f"blobs/{index['manifests'][0]['digest'].replace(':', '/')}"])
    inner["manifests"].append(descriptor(other, platform={"os": "linux", "architecture": "s390x"}))
    outer = oci_manifest(inner, manifests.OCI_INDEX)
    members |= layout([outer], descriptor(outer))
    with pytest.raises(ArchiveError, match="lacks some of the images that its index names: linux/s390x"):
        images_in(members)


def test_one_image_under_two_names_is_one_image() -> None:
    manifest, blobs = oci_image(BASE)
    names = [{REF_NAME: "1.0"}, {REF_NAME: "latest", "io.containerd.image.name": "docker.io/library/app:latest"}]
    roots = [descriptor(manifest, annotations=annotations) for annotations in names]
    (image,) = images_in(layout([*blobs, manifest], *roots))
    assert image.references == ("1.0", "docker.io/library/app:latest")


def test_a_foreign_layer_may_be_absent() -> None:
    manifest, blobs = oci_image(BASE)
    document = json.loads(manifest.content)
    document["layers"].append({"mediaType": "a/b", "digest": digest_of(b"far"), "size": 3, "urls": ["https://far"]})
    manifest = oci_manifest(document, manifests.OCI_MANIFEST)
    (image,) = images_in(layout([*blobs, manifest], descriptor(manifest)))
    assert digest_of(b"far") not in {blob.digest for blob in image.blobs}


def both_formats(media_type: str) -> dict[str, bytes]:
    """As Docker 25 and later save: an OCI layout, and a manifest.json that names the same blobs."""
    manifest, blobs = oci_image(BASE, media_type=media_type)
    members = layout([*blobs, manifest], descriptor(manifest))
    names = [f"blobs/{blob.digest.replace(':', '/')}" for blob in blobs]
    item = {"Config": names[-1], "RepoTags": ["app:1"], "Layers": names[:-1]}
    return members | {"manifest.json": json.dumps([item]).encode()}


def test_of_both_formats_the_index_counts_when_its_layers_are_compressed() -> None:
    (image,) = images_in(both_formats(OCI_LAYER))
    assert image.manifests[0].media_type == manifests.OCI_MANIFEST


def test_of_both_formats_plain_layers_are_compressed() -> None:
    (image,) = images_in(both_formats("application/vnd.oci.image.layer.v1.tar"))
    check_publishable(image)
    assert image.references == ("app:1",)
    assert image.manifests[0].media_type == manifests.SCHEMA2
    assert [gzip.decompress(blob.open().read()) for blob in image.blobs[:1]] == [BASE]


def spoiled_blob(change: bytes | None, media_type: str) -> dict[str, bytes]:
    manifest, blobs = oci_image(BASE)
    members = layout([*blobs, manifest], descriptor(manifest))
    target = next(content for content in (*blobs, manifest) if content.media_type == media_type)
    member = f"blobs/{target.digest.replace(':', '/')}"
    if change is None:
        del members[member]
    else:
        members[member] = change + members[member][len(change) :] if change else members[member][:-1]
    return members


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        (spoiled_blob(None, OCI_LAYER), "lacks 'blobs/sha256/.*incomplete"),
        (spoiled_blob(None, manifests.OCI_CONFIG), "lacks 'blobs/sha256/"),
        (spoiled_blob(None, manifests.OCI_MANIFEST), "lacks 'blobs/sha256/"),
        (spoiled_blob(b"", OCI_LAYER), "and should have"),
        (spoiled_blob(b"", manifests.OCI_MANIFEST), "and should have"),
        (spoiled_blob(b"x", manifests.OCI_MANIFEST), "does not match its digest"),
        (sample_layout() | {"index.json": b"{"}, "index.json in the archive is not sound. The manifest is not JSON"),
        (
            sample_layout() | {"index.json": oci_image()[0].content},
            "index.json in the archive is not an OCI image index",
        ),
        (sample_layout() | {"index.json": oci_index().content}, "holds no image"),
        (sample_layout() | {"index.json": b" " * (4 * MIB + 1)}, "at most 4194304"),
    ],
)
def test_an_oci_archive_that_is_wrong_is_refused(members: dict[str, bytes], problem: str) -> None:
    with pytest.raises(ArchiveError, match=problem):
        images_in(members)


def test_a_manifest_over_4_mib_is_refused() -> None:
    huge = ArchiveManifest(digest_of(bytes(5_000_000)), bytes(5_000_000), manifests.OCI_MANIFEST)
    with pytest.raises(ArchiveError, match="has 5000000 bytes; at most 4194304"):
        images_in(layout([huge], descriptor(huge)))


def test_one_manifest_named_ten_thousand_times_is_refused() -> None:
    manifest, blobs = oci_image(BASE)
    manifest = oci_manifest(json.loads(manifest.content) | {"annotations": {"padding": "x" * MIB}}, manifest.media_type)
    indexes = [oci_index(descriptor(manifest, annotations={"n": str(number)})) for number in range(100)]
    with pytest.raises(ArchiveError, match="over 64 MiB in all"):
        images_in(layout([*blobs, manifest, *indexes], *map(descriptor, indexes)))


def test_one_config_named_a_thousand_times_is_refused() -> None:
    members = docker_archive(([], []))
    (name,) = (name for name in members if name != "manifest.json")
    members[name] = members[name].ljust(MIB)
    members["manifest.json"] = json.dumps([{"Config": name, "Layers": []}] * 1000).encode()
    with pytest.raises(ArchiveError, match="over 64 MiB in all"):
        images_in(members)


def test_a_schema_1_image_is_refused() -> None:
    content = json.dumps({"schemaVersion": 1, "fsLayers": [{"blobSum": digest_of(b"")}]}).encode()
    old = ArchiveManifest(digest_of(content), content, manifests.SCHEMA1)
    with pytest.raises(ArchiveError, match="schema 1"):
        images_in(layout([old], descriptor(old)))


def test_indexes_nested_too_deep_are_refused() -> None:
    manifest, blobs = oci_image(BASE)
    contents: list[ArchiveBlob | ArchiveManifest] = [*blobs, manifest]
    for _ in range(12):
        manifest = oci_index(descriptor(manifest))
        contents.append(manifest)
    with pytest.raises(ArchiveError, match="nested more than 8 deep"):
        images_in(layout(contents, descriptor(manifest)))


def test_a_spoiled_layer_is_found_when_it_is_read() -> None:
    (image,) = images_in(spoiled_blob(b"x", OCI_LAYER))
    with image.blobs[0].open() as stream, pytest.raises(ArchiveError, match=f"{image.blobs[0].digest} does not match"):
        stream.read()


# The file as a whole


@pytest.mark.parametrize("members", [sample_layout(), docker_archive((["app:1"], [BASE]))])
def test_an_archive_may_be_compressed_as_a_whole(members: dict[str, bytes], tmp_path: Path) -> None:
    with opened(gzip.compress(tar_of(members)), scratch=tmp_path) as archive:
        check_publishable(archive.images[0])
        assert archive.images[0].root == images_in(members)[0].root
    assert not list(tmp_path.iterdir())


def test_a_bomb_is_refused_long_before_the_limit(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(64 * 2**20), mtime=0)
    with pytest.raises(ArchiveError, match="200 times its size"):
        open_archive(io.BytesIO(bomb), scratch=tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"hello", "not a tar archive"),
        (gzip.compress(b"hello", mtime=0), "not a tar archive"),
        (gzip.compress(tar_of(sample_layout()))[:-20], "does not unpack"),
        (gzip.compress(bytes(2_000_000)), "unpacks to more than 1 MiB"),
        (b"\x28\xb5\x2f\xfd", "zstd -d"),
        (b"\xfd7zXZ\0", "xz -d"),
        (b"BZh91", "bzip2 -d"),
        (b"PK\x03\x04", "zip file"),
        (tar_of({"etc/passwd": b""}), "neither index.json nor manifest.json"),
        (tar_of({"repositories": b"{}"}), "before 1.10"),
        (tar_of({"image/index.json": b"{}"}), "in a folder"),
        (tar_of(sample_layout() | {"../evil": b""}), "leads out of the archive"),
    ],
)
def test_what_is_no_image_archive_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(ArchiveError, match=problem):
        opened(content, max_bytes=MIB)


@pytest.mark.parametrize("members", [sample_layout(), docker_archive((["app:1"], [BASE, TOP]))])
def test_an_archive_cut_anywhere_is_refused(members: dict[str, bytes]) -> None:
    content = tar_of(members)
    end = len(content.rstrip(b"\0"))
    for keep in [*range(1, end, 509), end - 1]:
        with pytest.raises(ArchiveError):
            _ = opened(content[:keep]).images


def test_an_archive_damaged_anywhere_is_refused_or_its_content_is(tmp_path: Path) -> None:
    content = tar_of(sample_layout())
    whole = content_of(images_in(sample_layout())[0])
    chance = random.Random(1)
    for _ in range(300):
        spoiled = bytearray(content)
        spoiled[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        try:
            (image,) = opened(bytes(spoiled)).images
            contents = content_of(image)
        except ArchiveError:
            continue
        assert contents == whole


def test_progress_may_stop_the_work() -> None:
    class Stopped(Exception):  # noqa: N818
        pass

    def stop(_: int) -> None:
        raise Stopped

    content = tar_of(docker_archive((["app:1"], [BASE])))
    with pytest.raises(Stopped):
        _ = opened(content, progress=stop).images
    with pytest.raises(Stopped):
        opened(gzip.compress(content), progress=stop)


def test_memory_does_not_grow_with_the_layer(tmp_path: Path) -> None:
    size = 100 * MIB
    diff_id = hashlib.sha256()
    for _ in range(size // MIB):
        diff_id.update(bytes(MIB))
    document = {"rootfs": {"diff_ids": [f"sha256:{diff_id.hexdigest()}"]}}
    with tarfile.open(tmp_path / "archive.tar", "w") as tar:
        add(tar, "c.json", json.dumps(document).encode())
        add(tar, "manifest.json", json.dumps([{"Config": "c.json", "Layers": ["l.tar"]}]).encode())
        info = tarfile.TarInfo("l.tar")
        info.size = size
        tar.addfile(info, cast(BinaryIO, _Zeros()))
    tracemalloc.start()
    try:
        with (tmp_path / "archive.tar").open("rb") as file, open_archive(file, scratch=tmp_path) as archive:
            assert len(archive.images[0].blobs) == 2
        assert tracemalloc.get_traced_memory()[1] < 24 * MIB
    finally:
        tracemalloc.stop()


class _Zeros(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:] = bytes(len(buffer))
        return len(buffer)


# Writing


def test_what_is_written_can_be_read_and_is_the_same_every_time() -> None:
    inner, members, _ = two_platforms()
    (image,) = images_in(members)

    def write() -> bytes:
        file = io.BytesIO()
        write_oci_archive(file, [*image.blobs, *image.manifests], oci_index(descriptor(inner)).content)
        return file.getvalue()

    assert write() == write()
    assert opened(write()).images == [image]


def test_it_writes_to_a_pipe() -> None:
    class Pipe:
        written = 0

        def write(self, content: bytes) -> int:
            self.written += len(content)
            return len(content)

    pipe = Pipe()
    write_oci_archive(pipe, [], oci_index().content)  # type: ignore[arg-type]
    assert pipe.written


def test_it_does_not_write_a_content_that_is_wrong() -> None:
    wrong = ArchiveBlob(digest_of(b"a"), 1, "", lambda: io.BytesIO(b"b"))
    with pytest.raises(ArchiveError, match="does not match"):
        write_oci_archive(io.BytesIO(), [wrong], b"{}")
