"""Scan, import and abort jobs against a real S3 server, run by the engine in the foreground."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile

from dashboard.demo.content import build_demo
from dashboard.jobs import engine
from dashboard.models import Archive, Blob, Job, Manifest, Registry, Repository, Scan, Tag, UploadSession
from dashboard.services import jobs
from dashboard.services.imports import receive_archive
from storagedriver.layout import paths
from storagedriver.layout.archives import ArchiveBlob, ArchiveManifest, write_oci_archive
from storagedriver.layout.digests import digest_of
from storagedriver.layout.manifests import OCI_MANIFEST
from tests.components import S3Process
from tests.components.images import OciLayout, layer
from tests.dashboard.factories import make_registry, make_superuser

pytestmark = pytest.mark.django_db

DEMO = build_demo(datetime.now(UTC))
ROOT = "docker/registry/v2"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def run(kind: str, registry: Registry, **parameters: Any) -> Job:
    registry.refresh_from_db()
    return engine.run_here(jobs.start(kind=kind, registry=registry, actor=None, parameters=parameters))


def scan(registry: Registry) -> Scan:
    job = run("scan", registry)
    assert job.state == Job.State.SUCCEEDED, job.error
    return Scan.objects.get(registry=registry, generation=job.pk)


def push(registry: Registry, archive: bytes, reference: str = "team/api:1.0") -> Job:
    upload = ContentFile(archive, name="image.tar")
    return engine.run_here(receive_archive(registry=registry, actor=None, upload=upload, reference=reference))


def oci_archive(tmp_path: Path, *layers: bytes, names: tuple[str, ...] = ("1.0",)) -> bytes:
    """An oci-archive of one image, under each of the names."""
    layout = OciLayout(tmp_path / "layout")
    for name in names:
        layout.image(name, *layers)
    return packed(layout)


def packed(layout: OciLayout) -> bytes:
    """An oci-archive of the layout."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(layout.folder, arcname=".")
    return buffer.getvalue()


# Scan


def test_an_empty_bucket_is_an_empty_catalog(registry: Registry) -> None:
    found = scan(registry)
    assert (found.keys, found.repositories, found.bytes) == (0, 0, 0)


def test_the_catalog_holds_what_the_bucket_holds(demo: Registry) -> None:
    scan(demo)
    tags = {(tag.repository.name, tag.name): tag.digest for tag in Tag.objects.select_related("repository")}
    found = [(paths.parse(item.path), item.content) for item in DEMO.objects]
    expected = {(e.repository, e.tag): body.decode() for e, body in found if e.kind == paths.Kind.TAG_CURRENT}
    assert tags == expected


def test_the_ledger_adds_up_to_the_listing(demo: Registry, s3: S3Process) -> None:
    found = scan(demo)
    listed = sum(size for size, _ in s3.listing(demo.bucket).values())
    parts = sum(len(part) for upload in DEMO.uploads for part in upload.parts)
    assert sum(found.ledger.values()) == found.bytes == listed + parts


def test_the_ledger_knows_the_orphan_blob(demo: Registry) -> None:
    assert scan(demo).ledger["unreferenced"] == 1180 * 1024


def test_an_untagged_manifest_and_its_own_layers_are_untagged(demo: Registry) -> None:
    assert scan(demo).ledger["untagged"] > 0


def test_the_stale_upload_is_found_with_its_part(demo: Registry) -> None:
    scan(demo)
    session = UploadSession.objects.get()
    assert (session.repository_name, session.parts, len(session.multipart_ids)) == ("tools/backup", 1, 1)


def test_every_manifest_of_the_demo_is_understood(demo: Registry) -> None:
    scan(demo)
    assert not Manifest.objects.filter(kind="").exists()
    labels = set(Manifest.objects.values_list("label", flat=True))
    assert labels >= {"image", "index", "Helm chart", "signature", "SBOM", "attestation"}


def test_a_second_scan_reads_only_the_listing(demo: Registry) -> None:
    scan(demo)
    assert set(scan(demo).requests) <= {"ListObjectsV2", "ListMultipartUploads", "ListParts"}


def test_tags_cost_no_reads(demo: Registry) -> None:
    first = scan(demo)
    configs = Manifest.objects.exclude(config={}).count()
    assert first.requests["GetObject"] == first.manifests + configs


def test_a_tag_that_went_leaves_the_catalog(demo: Registry, s3: S3Process) -> None:
    scan(demo)
    gone = Tag.objects.select_related("repository").first()
    assert gone
    prefix = paths.tag_root(gone.repository.name, gone.name)[1:]
    for key in [key for key in s3.listing(demo.bucket) if key.startswith(f"{prefix}/")]:
        s3.client.delete_object(Bucket=demo.bucket, Key=key)
    scan(demo)
    assert not Tag.objects.filter(pk=gone.pk).exists()


def test_an_empty_link_is_the_tags_error(demo: Registry, s3: S3Process) -> None:
    key = paths.tag_current_link("team/api", "1.0")[1:]
    s3.client.put_object(Bucket=demo.bucket, Key=key, Body=b"")
    scan(demo)
    tag = Tag.objects.get(repository__name="team/api", name="1.0")
    assert "empty" in tag.error


def test_a_tag_to_a_manifest_the_repository_lacks_says_so(demo: Registry, s3: S3Process) -> None:
    key = paths.tag_current_link("team/api", "1.0")[1:]
    s3.client.put_object(Bucket=demo.bucket, Key=key, Body=digest_of(b"elsewhere").encode())
    scan(demo)
    assert "does not hold" in Tag.objects.get(repository__name="team/api", name="1.0").error


def test_a_manifest_over_4_mib_is_named_and_the_scan_goes_on(demo: Registry, s3: S3Process) -> None:
    content = b" " * (4 * 2**20 + 1)
    digest = digest_of(content)
    s3.client.put_object(Bucket=demo.bucket, Key=paths.blob_data(digest)[1:], Body=content)
    s3.client.put_object(Bucket=demo.bucket, Key=paths.revision_link("team/api", digest)[1:], Body=digest.encode())
    found = scan(demo)
    assert "4,194,305" in Manifest.objects.get(digest=digest).error
    assert any(digest in problem for problem in found.problems)


def test_a_damaged_manifest_is_named(demo: Registry, s3: S3Process) -> None:
    digest = next(
        item.content.decode() for item in DEMO.objects if paths.parse(item.path).kind == paths.Kind.TAG_CURRENT
    )
    s3.client.put_object(Bucket=demo.bucket, Key=paths.blob_data(digest)[1:], Body=b"{}")
    scan(demo)
    assert "damaged" in Manifest.objects.get(digest=digest).error


def test_hostile_keys_are_counted_as_unknown(registry: Registry, s3: S3Process) -> None:
    for name in ("<script>alert(1)</script>", "a\\b", "x//y", "né", "dir/"):
        s3.client.put_object(Bucket=registry.bucket, Key=f"{ROOT}/repositories/{name}", Body=b"12")
    assert scan(registry).ledger["unknown"] == 8  # the marker of a directory is no object


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"bucket": "no-such-bucket-anywhere"}, "bucket"), ({"region_endpoint": "http://127.0.0.1:9"}, "127.0.0.1")],
)
def test_a_scan_that_cannot_reach_the_bucket_says_why(demo: Registry, change: dict[str, str], expected: str) -> None:
    scan(demo)
    before = Tag.objects.count()
    Registry.objects.filter(pk=demo.pk).update(**change)
    demo.refresh_from_db()
    job = jobs.start(kind="scan", registry=demo, actor=None)
    engine.advance(job.pk)
    shard = job.shards.get()
    for _ in range(engine.MAX_ATTEMPTS):
        job.shards.update(not_before=None)
        engine.run_shard(shard.pk)
    job.refresh_from_db()
    assert job.state == Job.State.FAILED
    assert expected in job.error
    assert Tag.objects.count() == before


# Import


def test_an_oci_archive_is_published_whole(registry: Registry, s3: S3Process, tmp_path: Path) -> None:
    job = push(registry, oci_archive(tmp_path, layer("a", 6 * 2**20)))
    assert job.state == Job.State.SUCCEEDED, job.error
    digest = job.result["digest"]
    link = s3.client.get_object(Bucket=registry.bucket, Key=paths.tag_current_link("team/api", "1.0")[1:])
    assert link["Body"].read().decode() == digest
    stored = s3.client.get_object(Bucket=registry.bucket, Key=paths.blob_data(digest)[1:])["Body"].read()
    assert digest_of(stored) == digest


def test_the_import_is_in_the_catalog_at_once(registry: Registry, tmp_path: Path) -> None:
    push(registry, oci_archive(tmp_path, layer("a")))
    tag = Tag.objects.select_related("manifest", "repository").get()
    assert tag.manifest
    assert (tag.repository.tag_count, tag.manifest.kind) == (1, "image")
    assert tag.repository.size == tag.manifest.total_size > 0


def test_the_next_scan_agrees_with_the_import(registry: Registry, tmp_path: Path) -> None:
    push(registry, oci_archive(tmp_path, layer("a")))
    rows = ["repository__name", "name", "digest", "manifest__total_size", "repository__size"]
    before = list(Tag.objects.values_list(*rows))
    found = scan(registry)
    assert list(Tag.objects.values_list(*rows)) == before
    assert found.ledger["unreferenced"] == found.ledger["unknown"] == 0


def test_blobs_already_there_are_not_sent_again(registry: Registry, tmp_path: Path) -> None:
    archive = oci_archive(tmp_path, layer("a"), layer("b"))
    push(registry, archive)
    again = push(registry, archive, "team/other:1.0")
    assert (again.result["blobs_sent"], again.result["blobs_skipped"]) == (0, 3)


def test_the_spool_is_empty_afterwards(registry: Registry, spool: Path, tmp_path: Path) -> None:
    push(registry, oci_archive(tmp_path, layer("a")))
    assert not Archive.objects.exists()
    assert not list(spool.iterdir())


def test_without_a_name_the_archives_own_names_are_all_published(registry: Registry, tmp_path: Path) -> None:
    job = push(registry, oci_archive(tmp_path, layer("a"), names=("first:v1", "team/second:v2")), "")
    assert job.state == Job.State.SUCCEEDED, job.error
    assert set(Tag.objects.values_list("repository__name", "name")) == {("first", "v1"), ("team/second", "v2")}


def test_several_images_under_one_name_are_refused_on_its_field(registry: Registry, tmp_path: Path) -> None:
    layout = OciLayout(tmp_path / "layout")
    layout.image("first:v1", layer("a"))
    layout.image("second:v1", layer("b"))
    with pytest.raises(ValidationError) as refusal:
        push(registry, packed(layout), "team/api:1.0")
    assert list(refusal.value.message_dict) == ["reference"]


def test_what_is_no_archive_is_refused_on_its_field(registry: Registry) -> None:
    with pytest.raises(ValidationError) as refusal:
        push(registry, b"hello, I am a text file" * 100)
    assert "archive" in refusal.value.message_dict


def test_a_truncated_archive_is_refused_on_its_field(registry: Registry, spool: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as refusal:
        push(registry, oci_archive(tmp_path, layer("a", 2**20))[: 2**19])
    assert "archive" in refusal.value.message_dict
    assert not spool.exists() or not list(spool.iterdir())


@pytest.mark.parametrize("reference", ["team/api", "Team/API:1", "team/api:1@sha256:0", "host.example:5000/team/api:1"])
def test_a_name_that_is_none_is_refused_on_its_field(registry: Registry, tmp_path: Path, reference: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        push(registry, oci_archive(tmp_path, layer("a")), reference)
    assert list(refusal.value.message_dict) == ["reference"]


def test_a_wrong_digest_publishes_nothing(registry: Registry, s3: S3Process) -> None:
    config = ArchiveBlob.of(b'{"os":"linux"}', "application/vnd.oci.image.config.v1+json")
    good, bad = layer("good"), layer("bad")
    lied = digest_of(b"what it claims to be")
    layers = [(digest_of(good), len(good)), (lied, len(bad))]
    content = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": config.media_type, "digest": config.digest, "size": config.size},
            "layers": [{"mediaType": OCI_LAYER, "digest": digest, "size": size} for digest, size in layers],
        }
    ).encode()
    manifest = ArchiveManifest(digest_of(content), content, OCI_MANIFEST)
    named = {"mediaType": OCI_MANIFEST, "digest": manifest.digest, "size": manifest.size}
    index = json.dumps({"schemaVersion": 2, "manifests": [named]}).encode()
    buffer = io.BytesIO()
    blobs = [config, manifest, ArchiveBlob.of(good, ""), ArchiveBlob.of(bad, "")]
    write_oci_archive(buffer, blobs, index)
    archive = buffer.getvalue().replace(digest_of(bad)[7:].encode(), lied[7:].encode())
    job = push(registry, _with_checksums(archive))
    assert job.state == Job.State.FAILED
    assert lied in job.error
    assert s3.listing(registry.bucket) == {}
    assert s3.uploads(registry.bucket) == {}


def _with_checksums(archive: bytes) -> bytes:
    """Repack a tar whose member names were edited in place."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as target:
        position = 0
        while archive[position : position + 512].strip(b"\0"):
            header = bytearray(archive[position : position + 512])
            name = header[:100].rstrip(b"\0").decode()
            size = int(header[124:135], 8)
            member = tarfile.TarInfo(name)
            member.size = size
            target.addfile(member, io.BytesIO(archive[position + 512 : position + 512 + size]))
            position += 512 + (size + 511) // 512 * 512
    return packed.getvalue()


def test_a_lost_workers_parts_are_dropped(registry: Registry, s3: S3Process, tmp_path: Path) -> None:
    upload = ContentFile(oci_archive(tmp_path, layer("a")), name="image.tar")
    job = receive_archive(registry=registry, actor=None, upload=upload, reference="team/api:1.0")
    engine.advance(job.pk)
    path = paths.blob_data(digest_of(b"a blob of the lost run"))
    lost = s3.client.create_multipart_upload(Bucket=registry.bucket, Key=path[1:])["UploadId"]
    job.shards.update(cursor={"path": path, "upload_id": lost})
    engine.run_here(job)
    assert s3.uploads(registry.bucket) == {}


def test_an_import_cancelled_in_mid_upload_leaves_nothing(
    registry: Registry, s3: S3Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.jobs.base.PULSE_SECONDS", 0)
    actor = make_superuser()
    upload = ContentFile(oci_archive(tmp_path, layer("a", 6 * 2**20)), name="image.tar")
    job = receive_archive(registry=registry, actor=None, upload=upload, reference="team/api:1.0")

    def cancel_once_uploading(shard: Any) -> None:
        if shard.cursor and Job.objects.get(pk=job.pk).cancel_requested is None:
            jobs.cancel(job=job, actor=actor)

    job = engine.run_here(job, cancel_once_uploading)
    assert job.state == Job.State.CANCELLED
    assert s3.uploads(registry.bucket) == {}
    assert not [key for key in s3.listing(registry.bucket) if "/repositories/" in key]


# Abort uploads


def test_a_stale_upload_is_aborted(demo: Registry, s3: S3Process) -> None:
    scan(demo)
    session = UploadSession.objects.get()
    job = run("abort_uploads", demo, sessions=[session.pk])
    assert job.result["aborted"] == 1
    assert s3.uploads(demo.bucket) == {}
    assert not [key for key in s3.listing(demo.bucket) if "/_uploads/" in key]
    assert not UploadSession.objects.exists()


def test_aborting_frees_the_bytes_it_says(demo: Registry) -> None:
    before = scan(demo)
    job = run("abort_uploads", demo, sessions=[UploadSession.objects.get().pk])
    after = scan(demo)
    assert job.result["bytes"] == before.bytes - after.bytes


def test_an_upload_that_came_back_to_life_stays(demo: Registry, s3: S3Process) -> None:
    scan(demo)
    session = UploadSession.objects.get()
    later = session.last_activity - timedelta(hours=1)
    UploadSession.objects.update(last_activity=later)
    job = run("abort_uploads", demo, sessions=[session.pk])
    assert (job.result["active_again"], job.result["aborted"]) == (1, 0)
    assert len(s3.uploads(demo.bucket)) == 1


def test_an_upload_that_is_gone_is_counted_apart(demo: Registry, s3: S3Process) -> None:
    scan(demo)
    session = UploadSession.objects.get()
    for upload_id, key in s3.uploads(demo.bucket).items():
        s3.client.abort_multipart_upload(Bucket=demo.bucket, Key=key, UploadId=upload_id)
    for key in [key for key in s3.listing(demo.bucket) if "/_uploads/" in key]:
        s3.client.delete_object(Bucket=demo.bucket, Key=key)
    job = run("abort_uploads", demo, sessions=[session.pk])
    assert job.result["already_gone"] == 1


def test_another_registrys_session_is_not_touched(demo: Registry, s3: S3Process) -> None:
    scan(demo)
    other = make_registry("beta")
    job = run("abort_uploads", other, sessions=[UploadSession.objects.get().pk])
    assert job.result["aborted"] == 0
    assert len(s3.uploads(demo.bucket)) == 1


def test_blobs_are_known_with_size_and_class(demo: Registry) -> None:
    scan(demo)
    found = [(paths.parse(item.path), len(item.content)) for item in DEMO.objects]
    sizes = {entry.digest: size for entry, size in found if entry.kind == paths.Kind.BLOB}
    assert all(sizes[blob.digest] == blob.size for blob in Blob.objects.all())
    assert set(Blob.objects.values_list("storage_class", flat=True)) == {"STANDARD"}


def test_repositories_know_their_counts(demo: Registry) -> None:
    scan(demo)
    repository = Repository.objects.get(name="team/api")
    prefix = f"/{ROOT}/repositories/team/api/_manifests/tags/"
    tags = [item for item in DEMO.objects if item.path.startswith(prefix) and item.path.endswith("/current/link")]
    assert repository.tag_count == len(tags)
