"""The demo registry is a registry: the real one serves every image of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dashboard.demo.content import build_demo
from dashboard.models import Registry, Revision, Tag
from tests.components import DockerRegistry, S3Process, pull
from tests.interop.conftest import scan


@pytest.fixture
def demo(s3: S3Process, docker: DockerRegistry, bucket: str) -> DockerRegistry:
    """The demo's objects, in the bucket of a real registry."""
    for item in build_demo(datetime(2026, 11, 23, tzinfo=UTC)).objects:
        s3.client.put_object(Bucket=bucket, Key=item.key, Body=item.content)
    return docker


def test_the_registry_serves_every_tag(demo: DockerRegistry, registry: Registry, tmp_path: Path) -> None:
    scan(registry)

    found = {repository: demo.tags(repository) for repository in demo.repositories()}
    ours: dict[str, list[str]] = {}
    for tag in Tag.objects.select_related("repository"):
        ours.setdefault(tag.repository.name, []).append(tag.name)
        assert demo.digest(tag.repository.name, tag.name) == tag.digest
    assert {name: sorted(tags) for name, tags in found.items()} == {name: sorted(tags) for name, tags in ours.items()}
    assert len(found) >= 5


def test_the_registry_serves_every_revision_whole(demo: DockerRegistry, registry: Registry, tmp_path: Path) -> None:
    scan(registry)

    for revision in Revision.objects.select_related("repository", "manifest"):
        name, manifest = revision.repository.name, revision.manifest
        assert demo.head(name, manifest.digest).headers["content-type"] == manifest.media_type
        for reference in manifest.references.filter(kind__in=["config", "layer"]):
            answer = demo.request("HEAD", f"/v2/{name}/blobs/{reference.digest}")
            assert (answer.status, int(answer.headers["content-length"])) == (200, reference.size)


def test_a_client_pulls_an_index_with_its_attestations(
    demo: DockerRegistry, registry: Registry, tmp_path: Path
) -> None:
    scan(registry)

    tag = Tag.objects.filter(manifest__kind="index").select_related("repository", "manifest").first()
    assert tag is not None
    assert tag.manifest is not None
    pulled = pull(demo.host, tag.repository.name, tag.digest, tmp_path / "pulled")
    children = tag.manifest.references.filter(kind="child").values_list("digest", flat=True)
    assert {tag.digest, *children} <= set(pulled.blobs)
