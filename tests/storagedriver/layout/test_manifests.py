from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagedriver.layout import manifests
from storagedriver.layout.digests import digest_of
from storagedriver.layout.errors import ManifestError
from storagedriver.layout.manifests import Descriptor, ManifestKind, Platform, parse_manifest, recognise

A, B, C = (digest_of(name) for name in (b"a", b"b", b"c"))


def descriptor(
    digest: str = A, media_type: str = "application/octet-stream", size: int = 7, **more: Any
) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size, **more}


def image(**more: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": manifests.OCI_MANIFEST,
        "config": descriptor(A, manifests.OCI_CONFIG),
        "layers": [descriptor(B, "application/vnd.oci.image.layer.v1.tar+gzip", 20)],
    } | more


def index(*children: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": list(children)} | more


def parse(document: Any, media_type: str | None = None) -> manifests.ParsedManifest:
    return parse_manifest(json.dumps(document).encode(), media_type)


def test_it_reads_an_oci_image() -> None:
    found = parse(image(annotations={"a": "b"}, subject=descriptor(C, manifests.OCI_MANIFEST)))
    assert found.kind is ManifestKind.IMAGE
    assert found.media_type == manifests.OCI_MANIFEST
    assert found.config == Descriptor(manifests.OCI_CONFIG, A, 7)
    assert [(layer.digest, layer.size) for layer in found.layers] == [(B, 20)]
    assert found.subject is not None
    assert found.subject.digest == C
    assert found.annotations == {"a": "b"}
    assert [part.digest for part in found.descriptors()] == [A, B]


def test_it_reads_a_schema_2_image() -> None:
    found = parse(image(mediaType=manifests.SCHEMA2, config=descriptor(A, manifests.SCHEMA2_CONFIG)))
    assert (found.kind, found.media_type) == (ManifestKind.IMAGE, manifests.SCHEMA2)


@pytest.mark.parametrize("media_type", [manifests.OCI_INDEX, manifests.SCHEMA2_LIST])
def test_it_reads_an_index(media_type: str) -> None:
    platform = {"os": "linux", "architecture": "arm64", "variant": "v8", "os.version": "1", "os.features": ["x"]}
    found = parse(index(descriptor(A, manifests.OCI_MANIFEST, platform=platform), mediaType=media_type))
    assert found.kind is ManifestKind.INDEX
    assert found.children[0].platform == Platform("linux", "arm64", "v8", "1", ("x",))
    assert str(found.children[0].platform) == "linux/arm64/v8"


def test_it_tells_an_attestation_in_an_index() -> None:
    annotations = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": A}
    found = parse(index(descriptor(A), descriptor(B, annotations=annotations)))
    assert [child.attested for child in found.children] == [None, A]


@pytest.mark.parametrize(
    ("signatures", "media_type"),
    [({}, manifests.SCHEMA1), ({"signatures": [{}]}, manifests.SCHEMA1_SIGNED)],
)
def test_it_recognises_schema_1_and_its_layers_base_first(signatures: dict[str, Any], media_type: str) -> None:
    document = {
        "schemaVersion": 1,
        "name": "a",
        "fsLayers": [{"blobSum": B}, {"blobSum": C}, {"blobSum": A}, {"blobSum": C}],
    }
    found = parse(document | signatures)
    assert (found.kind, found.media_type) == (ManifestKind.SCHEMA1, media_type)
    assert [layer.digest for layer in found.layers] == [C, A, B]


def test_it_reads_an_artifact_manifest() -> None:
    found = parse({"mediaType": manifests.OCI_ARTIFACT, "artifactType": "a/b", "blobs": [descriptor(B)]})
    assert (found.kind, found.artifact_type) == (ManifestKind.ARTIFACT, "a/b")
    assert [part.digest for part in found.descriptors()] == [B]


@pytest.mark.parametrize(
    ("document", "media_type"),
    [(image(), manifests.OCI_MANIFEST), (index(), manifests.OCI_INDEX)],
)
def test_a_manifest_without_media_type_is_known_by_its_shape(document: dict[str, Any], media_type: str) -> None:
    del document["mediaType"]
    assert parse(document).media_type == media_type


def test_the_content_type_decides_where_the_document_is_silent() -> None:
    document = image()
    del document["mediaType"]
    assert parse(document, f"{manifests.SCHEMA2}; charset=utf-8").media_type == manifests.SCHEMA2


def test_absent_lists_are_empty_as_they_are_to_the_registry() -> None:
    assert parse(image(layers=None)).layers == ()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[]", "not a JSON object"),
        (b"{}", "no 'config'"),
        (b'{"a":1,"a":2}', "key 'a' twice"),
        (b'{"a":NaN}', "holds NaN"),
        (b'{"a":-Infinity}', "holds -Infinity"),
        (b'{"a":' + b"9" * 5000 + b"}", "thousands of digits"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "more than 32 levels"),
        (b"[" * 1_000_000, "more than 32 levels"),
        (b" " * (4 * 1024 * 1024 + 1), "limit is 4 MiB"),
    ],
)
def test_it_refuses_what_is_not_a_manifest(content: bytes, problem: str) -> None:
    with pytest.raises(ManifestError, match=problem):
        parse_manifest(content)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (image(mediaType="application/json"), "not the media type of a manifest"),
        (image(mediaType=3), "'mediaType' of the manifest must be a text"),
        (image(schemaVersion=1, mediaType=manifests.OCI_MANIFEST), "'schemaVersion' must be 2"),
        (image(schemaVersion="2"), "must be a number"),
        (image(schemaVersion=True), "must be a whole number"),
        (image(manifests=[]), "an image but has the key 'manifests'"),
        (index(layers=[]), "an index but has the key 'layers'"),
        (image(config=None), "no 'config'"),
        (image(config=[]), "'config' in the manifest must be an object"),
        (image(layers={}), "'layers' of the manifest must be a list"),
        (image(layers=[None]), r"'layers\[0\]' in the manifest must be an object"),
        (image(layers=[descriptor(size=-1)]), r"'layers\[0\].size' of the manifest must be a whole number"),
        (image(layers=[descriptor(size=2**63)]), "must be a whole number"),
        (image(layers=[{"digest": A}]), r"'layers\[0\].size'"),
        (image(layers=[descriptor("sha256:../../x")]), r"'layers\[0\].digest' .* not 'sha256:../../x'"),
        (image(layers=[descriptor("md5:" + "a" * 32)]), "sha256, sha384 or sha512"),
        (image(layers=[descriptor(urls="x")]), "urls' of the manifest must be a list"),
        (image(layers=[descriptor(urls=[1])]), "texts only"),
        (image(layers=[descriptor(media_type="x" * 256)]), "has 256 characters"),
        (image(layers=[descriptor()] * 10_001), "10001 entries; at most 10000"),
        (image(annotations={"a": 1}), "texts only"),
        (image(subject="x"), "'subject' in the manifest must be an object"),
        (index(descriptor(platform=[])), r"'manifests\[0\].platform' in the manifest must be an object"),
        (index(descriptor(platform={"os": 1})), r"'manifests\[0\].platform.os' of the manifest must be a text"),
        ({"schemaVersion": 1}, "no 'fsLayers'"),
        ({"schemaVersion": 1, "fsLayers": [{"blobSum": "x"}]}, r"'fsLayers\[0\].blobSum'"),
        (image(Layers=[]), "'Layers': it must be spelled 'layers'"),
        (image() | {"layer\u017f": []}, "must be spelled 'layers'"),
    ],
)
def test_it_says_what_is_wrong(document: dict[str, Any], problem: str) -> None:
    with pytest.raises(ManifestError, match=problem):
        parse(document)


def test_a_media_type_that_contradicts_the_content_type_is_refused() -> None:
    with pytest.raises(ManifestError, match="but it came as"):
        parse(image(), manifests.SCHEMA2)


def test_texts_that_no_database_can_hold_are_made_storable() -> None:
    assert parse(image(annotations={"a\x00": "b\ud800"})).annotations == {"a\ufffd": "b\ufffd"}


def test_a_manifest_of_exactly_4_mib_is_read() -> None:
    content = json.dumps(image()).encode()
    assert parse_manifest(content.ljust(4 * 1024 * 1024)).config is not None


_keys = st.sampled_from(
    [
        "schemaVersion",
        "mediaType",
        "config",
        "layers",
        "manifests",
        "digest",
        "size",
        "platform",
        "annotations",
        "fsLayers",
    ]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([A, B, "sha256:"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | _keys, inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(_keys | st.text(), json_values))
def test_it_raises_nothing_but_manifest_errors_on_any_json(document: dict[str, Any]) -> None:
    for base in ({}, image(), index(descriptor()), {"schemaVersion": 1, "fsLayers": [{"blobSum": A}]}):
        with contextlib.suppress(ManifestError):
            parse(base | document)


@given(st.binary())
def test_it_raises_nothing_but_manifest_errors_on_any_bytes(content: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(content)


IN_TOTO = descriptor(B, "application/vnd.in-toto+json")
TAG = "sha256-" + "ab" * 32


@pytest.mark.parametrize(
    ("document", "tags", "word"),
    [
        (image(), ["1.0"], "image"),
        (image(config=descriptor(A, manifests.SCHEMA2_CONFIG), mediaType=manifests.SCHEMA2), [], "image"),
        ({"schemaVersion": 1, "fsLayers": [{"blobSum": A}]}, [], "image"),
        (index(), [], "index"),
        (index(mediaType=manifests.SCHEMA2_LIST), [], "index"),
        (image(config=descriptor(A, manifests.HELM_CONFIG)), [], "Helm chart"),
        (image(), [f"{TAG}.sig"], "signature"),
        (image(), ["latest", f"{TAG}.att"], "attestation"),
        (image(), [f"{TAG}.sbom"], "SBOM"),
        (image(), ["not-a-cosign.sig"], "image"),
        (image(layers=[descriptor(B, manifests.COSIGN_LAYER)]), [], "signature"),
        (image(artifactType="application/vnd.dev.cosign.artifact.sig.v1+json"), [], "signature"),
        (image(artifactType="application/vnd.dev.sigstore.bundle.v0.3+json"), [], "signature"),
        (
            image(
                artifactType="application/vnd.dev.sigstore.bundle.v0.3+json",
                annotations={"dev.sigstore.bundle.content": "dsse-envelope"},
            ),
            [],
            "attestation",
        ),
        (image(config=descriptor(A, "application/vnd.cncf.notary.signature")), [], "signature"),
        (image(layers=[IN_TOTO]), [], "attestation"),
        (image(artifactType="application/spdx+json"), [], "SBOM"),
        (image(layers=[descriptor(B, "application/vnd.cyclonedx+json")]), [], "SBOM"),
        (image(config=descriptor(A, "application/vnd.unknown.config.v1+json")), [], "artifact"),
        (image(artifactType="application/vnd.example.thing"), [], "artifact"),
        ({"mediaType": manifests.OCI_ARTIFACT, "artifactType": "application/spdx+json"}, [], "SBOM"),
        ({"mediaType": manifests.OCI_ARTIFACT}, [], "artifact"),
    ],
)
def test_it_recognises_what_a_manifest_stands_for(document: dict[str, Any], tags: list[str], word: str) -> None:
    assert recognise(parse(document), tags) == word
