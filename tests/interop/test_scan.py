"""A real registry writes the bucket; what our scan finds is what its API says."""

from __future__ import annotations

import pytest

from dashboard.models import Blob, Manifest, Reference, Registry, Repository, Revision, Scan, Tag
from tests.components import DockerRegistry, OciLayout, S3Process, copy_image
from tests.interop.conftest import scan

PUSHES = [  # image of the layout, where it goes, and how
    ("api-1", "library/base:1.0", "--format=v2s2"),
    ("api-1", "team/api:1.0", "--preserve-digests"),
    ("api-2", "team/api:1.1", "--preserve-digests"),
    ("api-2", "team/api:latest", "--preserve-digests"),
    ("api-1", "team/api:stable", "--preserve-digests"),
    ("api-2", "team/api:stable", "--preserve-digests"),  # the tag moves
    ("worker", "team/api/worker:big", "--format=v2s2"),
    ("web", "web:1", "--all"),
]


@pytest.fixture
def pushed(docker: DockerRegistry, layout: OciLayout) -> DockerRegistry:
    """A registry with images of every kind that skopeo pushes."""
    for image, reference, option in PUSHES:
        copy_image(layout.source(image), f"docker://{docker.host}/{reference}", option)
    return docker


def test_the_catalog_equals_what_the_registry_says(pushed: DockerRegistry, registry: Registry) -> None:
    scan(registry)

    assert sorted(Repository.objects.values_list("name", flat=True)) == sorted(pushed.repositories())
    ours = {(tag.repository.name, tag.name): tag.digest for tag in Tag.objects.select_related("repository")}
    theirs = {
        (repository, tag): pushed.digest(repository, tag)
        for repository in pushed.repositories()
        for tag in pushed.tags(repository)
    }
    assert ours == theirs
    assert len(ours) == 7


def test_manifests_and_blobs_are_those_of_the_registry(pushed: DockerRegistry, registry: Registry) -> None:
    scan(registry)

    for revision in Revision.objects.select_related("repository", "manifest"):
        manifest = revision.manifest
        answer = pushed.head(revision.repository.name, manifest.digest)
        assert answer.status == 200
        assert answer.headers["content-type"] == manifest.media_type
        assert int(answer.headers["content-length"]) == manifest.size
        kinds = [Reference.Kind.CONFIG, Reference.Kind.LAYER]
        for reference in manifest.references.filter(kind__in=kinds):
            answer = pushed.request("HEAD", f"/v2/{revision.repository.name}/blobs/{reference.digest}")
            assert answer.status == 200
            assert int(answer.headers["content-length"]) == Blob.objects.get(digest=reference.digest).size


def test_every_kind_of_manifest_is_recognised(pushed: DockerRegistry, registry: Registry, layout: OciLayout) -> None:
    scan(registry)

    kinds = {
        (tag.repository.name, tag.name): (tag.manifest.kind, tag.manifest.media_type)
        for tag in Tag.objects.select_related("repository", "manifest")
        if tag.manifest
    }
    schema2 = "application/vnd.docker.distribution.manifest.v2+json"
    assert kinds["library/base", "1.0"] == ("image", schema2)
    assert kinds["team/api", "1.1"] == ("image", "application/vnd.oci.image.manifest.v1+json")
    assert kinds["web", "1"] == ("index", "application/vnd.oci.image.index.v1+json")
    children = Reference.objects.filter(kind=Reference.Kind.CHILD).order_by("position")
    assert [child.platform for child in children] == ["linux/amd64", "linux/arm64"]
    platforms = Manifest.objects.filter(digest__in=[child.digest for child in children])
    assert sorted(manifest.platform for manifest in platforms) == ["linux/amd64", "linux/arm64"]


def test_the_ledger_counts_every_byte_of_the_bucket_once(
    pushed: DockerRegistry, registry: Registry, s3: S3Process
) -> None:
    scan(registry)

    found, stored = Scan.objects.get(), s3.listing(registry.bucket)
    assert found.keys == len(stored)
    assert sum(found.ledger.values()) == found.bytes == sum(size for size, _ in stored.values())
    assert found.problems == []


def test_a_second_scan_only_lists(pushed: DockerRegistry, registry: Registry) -> None:
    scan(registry)

    scan(registry)

    latest = Scan.objects.latest("generation")
    assert set(latest.requests) == {"ListObjectsV2", "ListMultipartUploads"}


def test_what_the_registry_deleted_leaves_the_catalog(pushed: DockerRegistry, registry: Registry) -> None:
    scan(registry)
    digest = pushed.digest("team/api", "1.0")

    assert pushed.request("DELETE", f"/v2/team/api/manifests/{digest}").status == 202
    scan(registry)

    tags = Tag.objects.filter(repository__name="team/api").values_list("name", flat=True)
    assert sorted(tags) == sorted(pushed.tags("team/api")) == ["1.1", "latest", "stable"]
    assert not Revision.objects.filter(repository__name="team/api", manifest__digest=digest).exists()
