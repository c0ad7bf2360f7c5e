from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagedriver.layout import paths
from storagedriver.layout.errors import LayoutError
from storagedriver.layout.paths import Kind, LayoutEntry, parse
from storagedriver.layout.references import is_repository

HEX = "ab" + "c" * 62
OTHER = "0" * 64
DIGEST = f"sha256:{HEX}"
UPLOAD = "0b8f5b0e-8e9c-4c7e-9d5e-0123456789ab"
REPOSITORY = "/docker/registry/v2/repositories/team/api"

_component = st.from_regex(re.compile(r"[a-z0-9]{1,9}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,9}){0,2}"), fullmatch=True)
repositories = st.lists(_component, min_size=1, max_size=4).map("/".join).filter(is_repository)
tags = st.from_regex(re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"), fullmatch=True)
digests = st.one_of(
    *(
        st.binary(min_size=bits // 8, max_size=bits // 8).map(lambda raw, bits=bits: f"sha{bits}:{raw.hex()}")
        for bits in (256, 384, 512)
    )
)
uploads = st.uuids().map(str)


@given(repositories, digests, tags, uploads)
def test_the_parser_inverts_the_builders(repository: str, digest: str, tag: str, upload: str) -> None:
    assert [
        parse(paths.blob_data(digest)),
        parse(paths.layer_link(repository, digest)),
        parse(paths.revision_link(repository, digest)),
        parse(paths.tag_current_link(repository, tag)),
        parse(paths.tag_index_link(repository, tag, digest)),
        parse(paths.upload_data(repository, upload)),
        parse(paths.upload_started_at(repository, upload)),
        parse(paths.upload_hash_state(repository, upload, "sha256", 10)),
    ] == [
        LayoutEntry(Kind.BLOB, digest=digest),
        LayoutEntry(Kind.LAYER_LINK, repository, digest),
        LayoutEntry(Kind.REVISION_LINK, repository, digest),
        LayoutEntry(Kind.TAG_CURRENT, repository, tag=tag),
        LayoutEntry(Kind.TAG_INDEX, repository, digest, tag),
        LayoutEntry(Kind.UPLOAD_DATA, repository, upload_id=upload),
        LayoutEntry(Kind.UPLOAD_STARTED_AT, repository, upload_id=upload),
        LayoutEntry(Kind.UPLOAD_HASH_STATE, repository, upload_id=upload),
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (paths.blob_data(DIGEST), f"/docker/registry/v2/blobs/sha256/ab/{HEX}/data"),
        (paths.layer_link("team/api", DIGEST), f"{REPOSITORY}/_layers/sha256/{HEX}/link"),
        (paths.revision_link("team/api", DIGEST), f"{REPOSITORY}/_manifests/revisions/sha256/{HEX}/link"),
        (paths.tag_current_link("team/api", "1.0"), f"{REPOSITORY}/_manifests/tags/1.0/current/link"),
        (
            paths.tag_index_link("team/api", "1.0", DIGEST),
            f"{REPOSITORY}/_manifests/tags/1.0/index/sha256/{HEX}/link",
        ),
        (paths.upload_data("team/api", UPLOAD), f"{REPOSITORY}/_uploads/{UPLOAD}/data"),
        (paths.upload_started_at("team/api", UPLOAD), f"{REPOSITORY}/_uploads/{UPLOAD}/startedat"),
    ],
)
def test_the_builders_follow_the_registry(path: str, expected: str) -> None:
    assert path == expected


def test_it_knows_the_signatures_of_old_registries() -> None:
    path = f"{REPOSITORY}/_manifests/revisions/sha256/{OTHER}/signatures/sha256/{HEX}/link"
    assert parse(path) == LayoutEntry(Kind.SIGNATURE_LINK, "team/api", DIGEST, revision=f"sha256:{OTHER}")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/docker/registry/v2",
        "/docker/registry/v2/blobs",
        f"/docker/registry/v2/blobs/sha256/ac/{HEX}/data",  # folder is not the first two digits
        f"/docker/registry/v2/blobs/sha256/ab/{HEX}",
        f"/docker/registry/v2/blobs/sha256/ab/{HEX}/data/",
        f"/docker/registry/v2/blobs/sha256/ab/{HEX}/data\n",
        f"/docker/registry/v2/blobs/sha256/ab/{HEX[:-1]}/data",
        f"/docker/registry/v2/blobs/sha256/ab/{HEX}0/data",
        f"/docker/registry/v2/blobs/sha256/AB/{HEX.upper()}/data",
        f"/docker/registry/v2/blobs/sha512/ab/{HEX}/data",
        f"/docker/registry/v2/blobs/md5/ab/{HEX[:32]}/data",
        f"//docker/registry/v2/blobs/sha256/ab/{HEX}/data",
        f"/prefix/docker/registry/v2/blobs/sha256/ab/{HEX}/data",
        f"/docker/registry/v2/repositories/_layers/sha256/{HEX}/link",  # no repository
        f"/docker/registry/v2/repositories//_layers/sha256/{HEX}/link",
        f"/docker/registry/v2/repositories/Team/_layers/sha256/{HEX}/link",
        f"/docker/registry/v2/repositories/a/../b/_layers/sha256/{HEX}/link",
        f"/docker/registry/v2/repositories/a%2fb/_layers/sha256/{HEX}/link",
        f"/docker/registry/v2/repositories/a/_manifests/b/_layers/sha256/{HEX}/link",
        f"/docker/registry/v2/repositories/_manifests/_layers/sha256/{HEX}/link",
        f"{REPOSITORY}/_layers/sha256/{HEX}/link/",
        f"{REPOSITORY}/_layers/sha256/{HEX}/Link",
        f"{REPOSITORY}/_layers/sha256/{HEX}",
        f"{REPOSITORY}/_layers//{HEX}/link",
        f"{REPOSITORY}/_Layers/sha256/{HEX}/link",
        f"{REPOSITORY}/_manifests/revisions/sha256/{HEX}/link/x",
        f"{REPOSITORY}/_manifests/revisions/sha256/{HEX}/signatures/sha256/xyz/link",
        f"{REPOSITORY}/_manifests/tags/current/link",
        f"{REPOSITORY}/_manifests/tags/.a/current/link",
        f"{REPOSITORY}/_manifests/tags/{'a' * 129}/current/link",
        f"{REPOSITORY}/_manifests/tags/a b/index/sha256/{HEX}/link",
        f"{REPOSITORY}/_manifests/tags/a/b/current/link",
        f"{REPOSITORY}/_uploads/not-a-uuid/data",
        f"{REPOSITORY}/_uploads/{UPLOAD}",
        f"{REPOSITORY}/_uploads/{UPLOAD}/hashstates/sha256/-1",
        f"{REPOSITORY}/_uploads/{UPLOAD}/hashstates/sha256/\u0661",
        f"{REPOSITORY}/_importants/{UPLOAD}/data",
        "/docker/registry/v2/repositories/" + "a" * 256 + f"/_layers/sha256/{HEX}/link",
        "/docker/registry/v2/repositories/a\x00/_uploads/x/data",
        "/docker/registry/v2/repositories" + "/_" * 400,
    ],
)
def test_what_a_registry_would_not_write_is_unknown(path: str) -> None:
    assert parse(path) == LayoutEntry(Kind.UNKNOWN)


def test_a_tag_and_a_repository_may_be_named_like_the_layout() -> None:
    assert parse(paths.tag_current_link("blobs/tags", "_layers")) == LayoutEntry(
        Kind.TAG_CURRENT, "blobs/tags", tag="_layers"
    )


_pieces = st.sampled_from(
    [
        "/",
        "_",
        "_layers",
        "_manifests",
        "_uploads",
        "revisions",
        "tags",
        "current",
        "index",
        "link",
        "data",
        "sha256",
        "ab",
        "a",
        "signatures",
        "hashstates",
        "..",
        "\n",
        HEX,
        UPLOAD,
        REPOSITORY,
        "docker/registry/v2/blobs",
    ]
)


@given(st.one_of(st.text(), st.lists(_pieces).map("/".join), st.lists(_pieces).map("".join)))
def test_it_never_raises_and_is_canonical(text: str) -> None:
    for path in (text, f"{paths.BLOBS}/{text}", f"{REPOSITORY}/{text}"):
        entry = parse(path)
        rebuilt = {
            Kind.BLOB: lambda e=entry: paths.blob_data(e.digest),
            Kind.LAYER_LINK: lambda e=entry: paths.layer_link(e.repository, e.digest),
            Kind.REVISION_LINK: lambda e=entry: paths.revision_link(e.repository, e.digest),
            Kind.TAG_CURRENT: lambda e=entry: paths.tag_current_link(e.repository, e.tag),
            Kind.TAG_INDEX: lambda e=entry: paths.tag_index_link(e.repository, e.tag, e.digest),
            Kind.UPLOAD_DATA: lambda e=entry: paths.upload_data(e.repository, e.upload_id),
            Kind.UPLOAD_STARTED_AT: lambda e=entry: paths.upload_started_at(e.repository, e.upload_id),
        }.get(entry.kind)
        assert rebuilt is None or rebuilt() == path


@pytest.mark.parametrize(
    "build",
    [
        lambda: paths.blob_data("sha256:../../x"),
        lambda: paths.layer_link("a/../b", DIGEST),
        lambda: paths.revision_link("a", "sha256:" + "x" * 64),
        lambda: paths.tag_current_link("a", "../../b"),
        lambda: paths.tag_index_link("", "a", DIGEST),
        lambda: paths.upload_data("a", "../x"),
        lambda: paths.upload_hash_state("a", str(UUID(int=0)), "../x", 0),
        lambda: paths.upload_hash_state("a", str(UUID(int=0)), "sha256", -1),
    ],
)
def test_no_builder_makes_a_path_elsewhere(build) -> None:
    with pytest.raises(LayoutError):
        build()
