"""Manifests: what an image is made of.

Formats: Docker image manifest version 2, schemas 1 and 2, Docker manifest list, OCI image manifest and image index
(image specification 1.1), and the OCI artifact manifest that came in a release candidate and went.
Sizes are bytes. All text is foreign: it is checked here for type and length, and never for good intent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Any

from .digests import is_digest
from .documents import MAX_MANIFEST_BYTES, read_object, storable
from .errors import ManifestError, shown
from .references import subject_of_tag

SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"
SCHEMA2_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
SCHEMA2_CONFIG = "application/vnd.docker.container.image.v1+json"
SCHEMA2_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
COSIGN_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json"

MAX_DESCRIPTORS = 10_000
MAX_SIZE = 2**63 - 1
MAX_MEDIA_TYPE_LENGTH = 255  # RFC 6838, section 4.2: two names of up to 127 characters


class ManifestKind(StrEnum):
    """The shape of the document. What it stands for (a chart, a signature) is `recognise`'s to say."""

    IMAGE = "image"
    INDEX = "index"
    ARTIFACT = "artifact"
    SCHEMA1 = "schema1"


KINDS = {
    SCHEMA2: ManifestKind.IMAGE,
    OCI_MANIFEST: ManifestKind.IMAGE,
    SCHEMA2_LIST: ManifestKind.INDEX,
    OCI_INDEX: ManifestKind.INDEX,
    OCI_ARTIFACT: ManifestKind.ARTIFACT,
    SCHEMA1: ManifestKind.SCHEMA1,
    SCHEMA1_SIGNED: ManifestKind.SCHEMA1,
}


@dataclass(frozen=True, slots=True)
class Platform:
    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As clients write it: `linux/arm64/v8`."""
        return "/".join(filter(None, (self.os or "unknown", self.architecture or "unknown", self.variant)))


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to content by its digest."""

    media_type: str
    digest: str
    size: int
    """Bytes; 0 for the layers of schema 1, which does not say."""
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    """Where a foreign layer lies; the registry may not hold it itself."""
    artifact_type: str = ""

    @property
    def attested(self) -> str | None:
        """In an index: the digest of the image whose BuildKit attestation this is, "" if it does not say, or None if
        this is no attestation."""
        if self.annotations.get("vnd.docker.reference.type") != "attestation-manifest":
            return None
        digest = self.annotations.get("vnd.docker.reference.digest", "")
        return digest if is_digest(digest) else ""


@dataclass(frozen=True, slots=True)
class ParsedManifest:
    kind: ManifestKind
    media_type: str
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    """Base layer first. Of an artifact: its blobs."""
    children: tuple[Descriptor, ...] = ()
    """Manifests of an index, in its order."""
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""

    def descriptors(self) -> Iterator[Descriptor]:
        """Everything that this manifest needs to be whole: not its subject."""
        return chain([self.config] if self.config else [], self.layers, self.children)


def parse_manifest(content: bytes, media_type: str | None = None) -> ParsedManifest:
    """Parse a manifest of at most 4 MiB, or raise ManifestError saying what is wrong.

    `media_type` is the Content-Type it came with, or None: a bucket does not keep it. The document then tells by its
    own `mediaType`, and without that by its shape, as the registry does.
    """
    document = read_object(content, what="manifest", limit=MAX_MANIFEST_BYTES, error=ManifestError)
    fields = _Fields(document, "manifest")
    found = _media_type(fields, media_type)
    kind = KINDS.get(found)
    match kind:
        case None:
            raise ManifestError(f"{shown(found)} is not the media type of a manifest.")
        case ManifestKind.SCHEMA1:
            return _schema1(fields, found)
        case ManifestKind.INDEX:
            unwanted = ["layers", "config", "fsLayers", "blobs"]
        case ManifestKind.IMAGE:
            unwanted = ["manifests", "fsLayers", "blobs"]
        case ManifestKind.ARTIFACT:
            unwanted = ["manifests", "layers", "config", "fsLayers"]
    # A document that is an image to one reader and an index to another hides content from one of them.
    for key in unwanted:
        if fields.value(key) is not None:
            raise ManifestError(f"The manifest says that it is an {kind} but has the key '{key}' of another kind.")
    if kind is ManifestKind.IMAGE and fields.value("config") is None:
        raise ManifestError("The manifest has no 'config'.")
    if kind is not ManifestKind.ARTIFACT and fields.integer("schemaVersion") != 2:
        raise ManifestError("The manifest's 'schemaVersion' must be 2.")
    return ParsedManifest(
        kind=kind,
        media_type=found,
        config=fields.descriptor("config"),
        layers=fields.descriptors("blobs" if kind is ManifestKind.ARTIFACT else "layers"),
        children=fields.descriptors("manifests"),
        subject=fields.descriptor("subject"),
        annotations=fields.texts("annotations"),
        artifact_type=fields.media_type("artifactType"),
    )


def recognise(manifest: ParsedManifest, tags: Iterable[str] = ()) -> str:
    """What a person calls it: "image", "index", "Helm chart", "signature", "SBOM", "attestation" or "artifact".

    `tags` are those that point at it: cosign's older signatures are known by their tag.
    """
    for tag in tags:
        if subject_of_tag(tag) and (word := _COSIGN_SUFFIXES.get(tag.rpartition(".")[2])):
            return word
    config_type = manifest.config.media_type if manifest.config else ""
    layer_types = [layer.media_type for layer in manifest.layers]
    if HELM_CONFIG in (config_type, manifest.artifact_type):
        return "Helm chart"
    for media_type in filter(None, (manifest.artifact_type, config_type, *layer_types)):
        for word, is_typical in _TYPICAL:
            if is_typical(media_type):
                return _bundle_word(manifest) if "sigstore.bundle" in media_type else word
    if manifest.kind is ManifestKind.INDEX:
        return "index"
    if manifest.kind is ManifestKind.SCHEMA1 or (
        config_type in (OCI_CONFIG, SCHEMA2_CONFIG) and not manifest.artifact_type
    ):
        return "image"
    return "artifact"


_COSIGN_SUFFIXES = {"sig": "signature", "att": "attestation", "sbom": "SBOM"}
_TYPICAL = [
    ("signature", re.compile(r"simplesigning|cosign\.artifact\.sig|notary\.signature|sigstore\.bundle").search),
    ("attestation", re.compile(r"in-toto|dsse\.envelope|slsa").search),
    ("SBOM", re.compile(r"spdx|cyclonedx|syft|sbom", re.IGNORECASE).search),
]


def _bundle_word(manifest: ParsedManifest) -> str:
    """A sigstore bundle carries a signature or, in a DSSE envelope, an attestation; its annotation says which."""
    dsse = manifest.annotations.get("dev.sigstore.bundle.content") == "dsse-envelope"
    return "attestation" if dsse else "signature"


def _media_type(fields: _Fields, given: str | None) -> str:
    own = fields.media_type("mediaType")
    given = (given or "").partition(";")[0].strip().lower()
    if own and given and own != given:
        raise ManifestError(f"The manifest says that it is {shown(own)}, but it came as {shown(given)}.")
    if own or given:
        return own or given
    if fields.value("schemaVersion") == 1:
        return SCHEMA1_SIGNED if fields.value("signatures") is not None else SCHEMA1
    return OCI_INDEX if fields.value("manifests") is not None else OCI_MANIFEST


def _schema1(fields: _Fields, media_type: str) -> ParsedManifest:
    """Schema 1 lists its layers from the top, and repeats the empty one for every step that changed no file."""
    if fields.integer("schemaVersion") != 1:
        raise ManifestError("The manifest's 'schemaVersion' must be 1.")
    digests = [layer.digest("blobSum") for layer in fields.objects("fsLayers")]
    if not digests:
        raise ManifestError("The manifest has no 'fsLayers'.")
    layers = (Descriptor(SCHEMA2_LAYER, digest, 0) for digest in dict.fromkeys(reversed(digests)))
    return ParsedManifest(ManifestKind.SCHEMA1, media_type, layers=tuple(layers))


_KEYS = (
    "schemaVersion mediaType artifactType config layers manifests blobs subject annotations fsLayers signatures "
    "digest size platform urls blobSum"
)
_SPELLING = {key.casefold(): key for key in _KEYS.split()}


class _Fields:
    """The fields of one JSON object, each asked for by name and type. `where` leads to it: `layers[3]`."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise ManifestError(f"'{where}' in the manifest must be an object.")
        self._fields: dict[str, Any] = value
        self._where = where
        for key in value:
            # The registry's JSON reader ignores case. Who spells `Layers` would hide the layers from us, and from
            # a collection the fact that they are in use.
            known = _SPELLING.get(key.casefold())
            if known and known != key:
                raise ManifestError(f"The manifest has the key {shown(key)}: it must be spelled '{known}'.")

    def value(self, key: str) -> object:
        return self._fields.get(key)

    def text(self, key: str) -> str:
        return storable(self._get(key, str, "a text", ""))

    def media_type(self, key: str) -> str:
        text = self.text(key)
        if len(text) > MAX_MEDIA_TYPE_LENGTH:
            raise ManifestError(
                f"{self._name(key)} has {len(text)} characters; at most {MAX_MEDIA_TYPE_LENGTH} may be."
            )
        return text

    def integer(self, key: str) -> int:
        value = self._get(key, int, "a number", None)
        if value is None or isinstance(value, bool) or not 0 <= value <= MAX_SIZE:
            raise ManifestError(f"{self._name(key)} must be a whole number from 0 to 2^63 - 1.")
        return int(value)

    def digest(self, key: str) -> str:
        text: str = self._get(key, str, "a text", "")
        if not is_digest(text):
            raise ManifestError(f"{self._name(key)} must be a sha256, sha384 or sha512 digest, not {shown(text)}.")
        return text

    def texts(self, key: str) -> dict[str, str]:
        items = self._get(key, dict, "an object", {}).items()
        if not all(isinstance(value, str) for _, value in items):
            raise ManifestError(f"{self._name(key)} must hold texts only.")
        return {storable(name): storable(value) for name, value in items}

    def text_list(self, key: str) -> tuple[str, ...]:
        items = self._get(key, list, "a list", [])
        if not all(isinstance(item, str) for item in items):
            raise ManifestError(f"{self._name(key)} must hold texts only.")
        return tuple(storable(item) for item in items)

    def objects(self, key: str) -> list[_Fields]:
        items = self._get(key, list, "a list", [])
        if len(items) > MAX_DESCRIPTORS:
            raise ManifestError(f"{self._name(key)} has {len(items)} entries; at most {MAX_DESCRIPTORS} are read.")
        return [_Fields(item, f"{key}[{number}]") for number, item in enumerate(items)]

    def descriptor(self, key: str) -> Descriptor | None:
        value = self._fields.get(key)
        return None if value is None else _Fields(value, key)._descriptor()

    def descriptors(self, key: str) -> tuple[Descriptor, ...]:
        return tuple(item._descriptor() for item in self.objects(key))

    def _descriptor(self) -> Descriptor:
        return Descriptor(
            media_type=self.media_type("mediaType"),
            digest=self.digest("digest"),
            size=self.integer("size"),
            platform=self._platform(),
            annotations=self.texts("annotations"),
            urls=self.text_list("urls"),
            artifact_type=self.media_type("artifactType"),
        )

    def _platform(self) -> Platform | None:
        value = self._fields.get("platform")
        if value is None:
            return None
        fields = _Fields(value, f"{self._where}.platform")
        return Platform(
            os=fields.text("os"),
            architecture=fields.text("architecture"),
            variant=fields.text("variant"),
            os_version=fields.text("os.version"),
            os_features=fields.text_list("os.features"),
        )

    def _get(self, key: str, kind: type, article: str, default: Any) -> Any:
        value = self._fields.get(key)  # null is as good as absent
        if value is None:
            return default
        if not isinstance(value, kind):
            raise ManifestError(f"{self._name(key)} must be {article}.")
        return value

    def _name(self, key: str) -> str:
        return f"'{key}' of the manifest" if self._where == "manifest" else f"'{self._where}.{key}' of the manifest"
