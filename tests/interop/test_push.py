"""We publish an archive; a real client pulls it through a real registry, byte for byte."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest
from django.core.files.base import File
from django.core.management import call_command

from dashboard.jobs import engine
from dashboard.models import Archive, Job, Registry, Tag
from dashboard.services.imports import receive_archive
from tests.components import DockerRegistry, OciLayout, S3Process, copy_image, pull
from tests.components.images import digest_of
from tests.interop.conftest import scan

KINDS = ["docker-archive", "oci-archive"]


def make_archive(kind: str, layout: OciLayout, image: str, folder: Path) -> Path:
    """Let skopeo write an archive of one image of the layout."""
    path = folder / f"{image}.tar"
    copy_image(layout.source(image), f"{kind}:{path}:example/{image}:1", *(["--all"] if kind == "oci-archive" else []))
    return path


def push(registry: Registry, reference: str, archive: Path) -> dict[str, object]:
    """Publish an archive by the command; return its figures."""
    output = io.StringIO()
    call_command("push", registry.slug, reference, str(archive), "--json", stdout=output)
    figures: dict[str, object] = json.loads(output.getvalue())
    return figures


def import_(registry: Registry, reference: str, archive: Path) -> Job:
    """Publish an archive as the upload page does."""
    with archive.open("rb") as file:
        job = receive_archive(registry=registry, actor=None, upload=File(file, archive.name), reference=reference)
    return engine.run_here(job)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("image", ["api-1", "worker"])
def test_a_pushed_image_is_pulled_byte_for_byte(
    registry: Registry, docker: DockerRegistry, layout: OciLayout, tmp_path: Path, kind: str, image: str
) -> None:
    figures = push(registry, "shop/api:1.0", make_archive(kind, layout, image, tmp_path))

    by_tag = pull(docker.host, "shop/api", "1.0", tmp_path / "by-tag").contents()
    by_digest = pull(docker.host, "shop/api", str(figures["digest"]), tmp_path / "by-digest").contents()
    assert by_tag == by_digest
    assert docker.digest("shop/api", "1.0") == figures["digest"] == Tag.objects.get().digest
    original = layout.manifest(image)
    assert layers_of(by_tag[str(figures["digest"])], by_tag) == layers_of(original, layout.contents())
    config = json.loads(original)["config"]["digest"]
    assert json.loads(by_tag[str(figures["digest"])])["config"]["digest"] == config
    assert by_tag[config] == layout.contents()[config]


def layers_of(manifest: bytes, contents: dict[str, bytes]) -> list[str]:
    """Return the digests of a manifest's layers, uncompressed: what a container sees."""
    layers = [contents[layer["digest"]] for layer in json.loads(manifest)["layers"]]
    return [digest_of(gzip.decompress(layer) if layer[:2] == b"\x1f\x8b" else layer) for layer in layers]


@pytest.mark.parametrize("image", ["api-1", "web"])
def test_an_oci_archive_keeps_its_digests(
    registry: Registry, docker: DockerRegistry, layout: OciLayout, tmp_path: Path, image: str
) -> None:
    push(registry, "shop/web:1", make_archive("oci-archive", layout, image, tmp_path))

    pulled = pull(docker.host, "shop/web", digest_of(layout.manifest(image)), tmp_path / "pulled").contents()
    assert pulled == layout.closure(image)


@pytest.mark.parametrize("kind", KINDS)
def test_the_import_job_publishes_the_same_as_the_command(
    registry: Registry, docker: DockerRegistry, layout: OciLayout, tmp_path: Path, kind: str
) -> None:
    archive = make_archive(kind, layout, "worker", tmp_path)
    job = import_(registry, "by/page:1", archive)
    assert job.state == Job.State.SUCCEEDED, job.error
    figures = push(registry, "by/command:1", archive)

    assert job.result["digest"] == figures["digest"]
    pulled = [pull(docker.host, name, "1", tmp_path / name.replace("/", "-")) for name in ("by/page", "by/command")]
    assert pulled[0].contents() == pulled[1].contents()
    assert not Archive.objects.exists()


def test_what_is_stored_already_is_not_sent_again(
    registry: Registry, docker: DockerRegistry, layout: OciLayout, tmp_path: Path
) -> None:
    copy_image(layout.source("api-1"), f"docker://{docker.host}/team/api:1", "--preserve-digests")

    figures = push(registry, "shop/api:2", make_archive("oci-archive", layout, "api-2", tmp_path))

    assert (figures["blobs_sent"], figures["blobs_skipped"]) == (2, 1)


def test_a_scan_finds_what_was_pushed_as_the_push_recorded_it(
    registry: Registry, docker: DockerRegistry, layout: OciLayout, tmp_path: Path
) -> None:
    push(registry, "shop/web:1", make_archive("oci-archive", layout, "web", tmp_path))
    recorded = list(
        Tag.objects.values_list("repository__name", "name", "digest", "manifest__kind", "manifest__total_size")
    )

    scan(registry)

    found = list(
        Tag.objects.values_list("repository__name", "name", "digest", "manifest__kind", "manifest__total_size")
    )
    assert found == recorded
    assert len(found) == 1


def test_a_push_leaves_no_upload_behind(
    registry: Registry, layout: OciLayout, tmp_path: Path, s3: S3Process, bucket: str
) -> None:
    push(registry, "shop/worker:1", make_archive("oci-archive", layout, "worker", tmp_path))

    assert s3.uploads(bucket) == {}
    assert not [key for key in s3.listing(bucket) if "_uploads" in key]


def test_the_registry_pushes_onto_what_we_published(
    registry: Registry, docker: DockerRegistry, layout: OciLayout, tmp_path: Path
) -> None:
    push(registry, "shop/api:1", make_archive("oci-archive", layout, "api-1", tmp_path))

    copy_image(layout.source("api-2"), f"docker://{docker.host}/shop/api:1", "--preserve-digests")

    pulled = pull(docker.host, "shop/api", "1", tmp_path / "pulled")
    assert pulled.contents() == layout.closure("api-2")
