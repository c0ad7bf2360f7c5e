"""The demo registry: real images, the same each time, in the registry's layout."""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
import struct
from collections import defaultdict
from typing import Any

import pytest

from dashboard.demo import content, images
from dashboard.demo.content import build_demo
from dashboard.demo.registry import DemoRegistry
from storagedriver.layout import paths
from storagedriver.layout.digests import digest_of, parse_link
from storagedriver.layout.paths import Kind

NOW = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def demo() -> DemoRegistry:
    return build_demo(NOW)


@pytest.fixture(scope="module")
def blobs(demo: DemoRegistry) -> dict[str, bytes]:
    entries = ((paths.parse(item.path), item.content) for item in demo.objects)
    return {str(entry.digest): data for entry, data in entries if entry.kind is Kind.BLOB}


@pytest.fixture(scope="module")
def revisions(demo: DemoRegistry) -> dict[str, set[str]]:
    """Repository to the digests of its manifests."""
    found: dict[str, set[str]] = defaultdict(set)
    for entry in (paths.parse(item.path) for item in demo.objects):
        if entry.kind is Kind.REVISION_LINK:
            found[str(entry.repository)].add(str(entry.digest))
    return found


@pytest.fixture(scope="module")
def tags(demo: DemoRegistry) -> dict[tuple[str, str], str]:
    """Repository and tag to digest."""
    entries = ((paths.parse(item.path), item.content) for item in demo.objects)
    return {
        (str(entry.repository), str(entry.tag)): parse_link(data)
        for entry, data in entries
        if entry.kind is Kind.TAG_CURRENT
    }


@pytest.fixture(scope="module")
def manifests(blobs: dict[str, bytes], revisions: dict[str, set[str]]) -> dict[str, dict[str, Any]]:
    return {digest: json.loads(blobs[digest]) for held in revisions.values() for digest in held}


def named_by(manifest: dict[str, Any]) -> set[str]:
    described = [*manifest.get("layers", []), *manifest.get("manifests", [])]
    return {item["digest"] for item in described} | ({manifest["config"]["digest"]} if "config" in manifest else set())


def test_it_is_the_same_each_time(demo: DemoRegistry) -> None:
    assert build_demo(NOW) == demo


def test_digests_do_not_depend_on_the_date(demo: DemoRegistry) -> None:
    later = build_demo(NOW + datetime.timedelta(days=400))
    assert [item.path for item in later.objects] == [item.path for item in demo.objects]


def test_every_path_is_of_the_registry_layout(demo: DemoRegistry) -> None:
    assert [item.path for item in demo.objects if paths.parse(item.path).kind is Kind.UNKNOWN] == []


def test_every_blob_lies_under_its_digest(blobs: dict[str, bytes]) -> None:
    assert {digest: digest_of(data) for digest, data in blobs.items()} == {digest: digest for digest in blobs}


def test_every_link_holds_the_digest_of_its_path(demo: DemoRegistry) -> None:
    links = [(paths.parse(item.path), item.content) for item in demo.objects if item.path.endswith("/link")]
    wrong = [entry for entry, data in links if entry.digest and parse_link(data) != entry.digest]
    assert wrong == []


def test_a_repository_holds_all_that_its_manifests_name(
    demo: DemoRegistry, manifests: dict[str, dict[str, Any]], revisions: dict[str, set[str]], blobs: dict[str, bytes]
) -> None:
    held = {item.path for item in demo.objects}
    missing = [
        (repository, digest)
        for repository, digests in revisions.items()
        for manifest in (manifests[digest] for digest in digests)
        for digest in named_by(manifest)
        if digest not in blobs or (digest not in digests and paths.layer_link(repository, digest) not in held)
    ]
    assert missing == []


def test_descriptors_give_true_sizes(manifests: dict[str, dict[str, Any]], blobs: dict[str, bytes]) -> None:
    described = [
        item for manifest in manifests.values() for item in manifest.get("layers", []) + manifest.get("manifests", [])
    ]
    assert [item for item in described if len(blobs[item["digest"]]) != item["size"]] == []


def test_layers_unpack_to_the_diff_ids_of_their_config(
    manifests: dict[str, dict[str, Any]], blobs: dict[str, bytes]
) -> None:
    checked = 0
    for manifest in manifests.values():
        layers = [item for item in manifest.get("layers", []) if item["mediaType"].endswith("tar.gzip")]
        layers += [item for item in manifest.get("layers", []) if item["mediaType"] == images.OCI_LAYER]
        if not layers:
            continue
        unpacked = [gzip.decompress(blobs[item["digest"]]) for item in layers]
        config = json.loads(blobs[manifest["config"]["digest"]])
        assert [digest_of(tar) for tar in unpacked] == config["rootfs"]["diff_ids"]
        assert len(layers) == sum(not step.get("empty_layer") for step in config["history"])
        checked += len(unpacked)
    assert checked > 60


def test_it_holds_every_kind_of_manifest(manifests: dict[str, dict[str, Any]]) -> None:
    kinds = {manifest["mediaType"] for manifest in manifests.values()}
    assert kinds == {images.DOCKER_MANIFEST, images.DOCKER_LIST, images.OCI_MANIFEST, images.OCI_INDEX}


def test_it_holds_at_least_twelve_images(manifests: dict[str, dict[str, Any]]) -> None:
    configs = {images.DOCKER_CONFIG, images.OCI_CONFIG}
    assert sum(manifest.get("config", {}).get("mediaType") in configs for manifest in manifests.values()) >= 12


def test_an_index_carries_attestations_of_its_images(
    manifests: dict[str, dict[str, Any]], tags: dict[tuple[str, str], str]
) -> None:
    children = manifests[tags["team/web", "latest"]]["manifests"]
    real = {child["digest"] for child in children if child["platform"]["os"] == "linux"}
    attested = {child["annotations"]["vnd.docker.reference.digest"] for child in children if "annotations" in child}
    assert (len(real), attested) == (2, real)


def test_a_signature_by_tag_names_a_tagged_image(tags: dict[tuple[str, str], str]) -> None:
    [signed] = [tag.removesuffix(".sig") for _, tag in tags if tag.endswith(".sig")]
    assert signed.replace("sha256-", "sha256:") == tags["team/api", "2.1.2"]


def test_a_signature_and_an_sbom_name_their_image_by_subject(
    manifests: dict[str, dict[str, Any]], tags: dict[tuple[str, str], str]
) -> None:
    referrers = {
        manifest["artifactType"]: manifest["subject"]["digest"]
        for manifest in manifests.values()
        if "subject" in manifest
    }
    image = tags["team/api/worker", "latest"]
    assert referrers == {
        "application/spdx+json": image,
        "application/vnd.dev.sigstore.bundle.v0.3+json": image,
    }


def test_two_manifests_lost_their_only_tag(
    manifests: dict[str, dict[str, Any]], revisions: dict[str, set[str]], tags: dict[tuple[str, str], str]
) -> None:
    children = {digest for manifest in manifests.values() for digest in named_by(manifest)}
    referrers = {digest for digest, manifest in manifests.items() if "subject" in manifest}
    untagged = set().union(*revisions.values()) - set(tags.values()) - children - referrers
    assert len(untagged) == 2


def test_a_tag_remembers_where_it_was(demo: DemoRegistry) -> None:
    entries = (paths.parse(item.path) for item in demo.objects)
    was = {entry.digest for entry in entries if entry.kind is Kind.TAG_INDEX and entry.tag == "main"}
    assert len(was) == 3


def test_images_share_layers(manifests: dict[str, dict[str, Any]], tags: dict[tuple[str, str], str]) -> None:
    shared = set.intersection(
        *(named_by(manifests[tags[name]]) for name in (("team/api", "1.0"), ("library/alpine-like", "3.20")))
    )
    assert len(shared) == 1


def test_tags_need_a_natural_order(tags: dict[tuple[str, str], str]) -> None:
    names = {tag for repository, tag in tags if repository == "team/api"}
    assert len(names) > 20
    assert {"1.9", "1.10"} <= names


def test_one_blob_belongs_to_nobody(blobs: dict[str, bytes], manifests: dict[str, dict[str, Any]]) -> None:
    reachable = set(manifests).union(*(named_by(manifest) for manifest in manifests.values()))
    assert len(blobs.keys() - reachable) == 1


def test_dates_lie_in_the_last_ninety_days(demo: DemoRegistry) -> None:
    ages = [(NOW - item.modified).days for item in demo.objects]
    assert (min(ages) >= 0, max(ages) < 90, max(ages) > 80) == (True, True, True)


def test_one_upload_is_stale(demo: DemoRegistry) -> None:
    [upload] = demo.uploads
    started = next(item.content for item in demo.objects if item.path.endswith("/startedat"))
    assert (NOW - upload.initiated, started) == (datetime.timedelta(days=9), b"2026-11-14T12:00:00Z")


def test_the_stale_upload_can_go_on_from_its_hash_state() -> None:
    """The state after whole blocks, finished with the padding block, is the digest of what was uploaded."""
    length = len(content.STALE_CONTENT)
    state = content.hash_state(content.SHA256_STALE, length)
    words = list(struct.unpack(">8I", state[4:36]))
    padding = b"\x80" + bytes(55) + struct.pack(">Q", 8 * length)
    assert len(state) == 108
    assert struct.pack(">8I", *compress(words, padding)) == hashlib.sha256(content.STALE_CONTENT).digest()


def compress(state: list[int], block: bytes) -> list[int]:
    """SHA-256's compression function (FIPS 180-4 section 6.2.2)."""
    primes = [number for number in range(2, 312) if all(number % divisor for divisor in range(2, number))]
    schedule = list(struct.unpack(">16I", block))
    for index in range(16, 64):
        early, late = schedule[index - 15], schedule[index - 2]
        small = rotated(early, 7) ^ rotated(early, 18) ^ early >> 3
        large = rotated(late, 17) ^ rotated(late, 19) ^ late >> 10
        schedule.append((schedule[index - 16] + small + schedule[index - 7] + large) % 2**32)
    a, b, c, d, e, f, g, h = state
    for prime, word in zip(primes, schedule, strict=True):
        mixed = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)
        first = h + mixed + (e & f ^ ~e & g) + cube_root_fraction(prime) + word
        second = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + (a & b ^ a & c ^ b & c)
        a, b, c, d, e, f, g, h = (first + second) % 2**32, a, b, c, (d + first) % 2**32, e, f, g
    return [(old + new) % 2**32 for old, new in zip(state, (a, b, c, d, e, f, g, h), strict=True)]


def rotated(word: int, count: int) -> int:
    return (word >> count | word << 32 - count) % 2**32


def cube_root_fraction(number: int) -> int:
    """The first 32 bits of the fraction of the cube root, by bisection on integers."""
    low, high = 0, 8 << 32
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**3 <= number << 96 else (low, middle)
    return low % 2**32


def test_gzip_of_more_than_one_block_unpacks() -> None:
    data = images.noise("blocks", 200_000)
    assert gzip.decompress(images.gzipped(data)) == data


def test_gzip_of_nothing_unpacks() -> None:
    assert gzip.decompress(images.gzipped(b"")) == b""
