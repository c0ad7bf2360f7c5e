"""Archives as skopeo writes them, of images that umoci made; and ours as skopeo reads them."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from storagedriver.layout import manifests
from storagedriver.layout.archives import ArchiveImage, open_archive, write_oci_archive
from storagedriver.layout.configs import parse_config
from storagedriver.layout.digests import digest_of
from storagedriver.layout.errors import ArchiveError
from storagedriver.layout.manifests import parse_manifest

pytestmark = pytest.mark.skipif(
    not (shutil.which("skopeo") and shutil.which("umoci")), reason="skopeo or umoci is missing: apt-get install both"
)


def run(*command: str | Path) -> bytes:
    done = subprocess.run([*map(str, command)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def skopeo(*arguments: str | Path) -> bytes:
    return run("skopeo", "--insecure-policy", *arguments)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout with the images `base` (one layer) and `app` (the same and one more)."""
    folder = tmp_path_factory.mktemp("umoci")
    path = folder / "layout"
    for name in ("first", "second"):
        (folder / name).write_bytes((name.encode() + b"\n") * 50_000)
    run("umoci", "init", "--layout", path)
    run("umoci", "new", "--image", f"{path}:base")
    run("umoci", "insert", "--rootless", "--image", f"{path}:base", folder / "first", "/srv/first")
    run("umoci", "tag", "--image", f"{path}:base", "app")
    run("umoci", "insert", "--rootless", "--image", f"{path}:app", folder / "second", "/srv/second")
    run("umoci", "config", "--image", f"{path}:app", "--config.cmd", "/srv/second", "--config.label", "a=b")
    return path


@pytest.fixture(scope="module")
def docker_archive(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("docker") / "app.tar"
    skopeo("copy", "--additional-tag", "team/app:2.0", f"oci:{layout}:app", f"docker-archive:{path}:team/app:1.0")
    return path


@pytest.fixture(scope="module")
def oci_archive(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("oci") / "app.tar"
    skopeo("copy", f"oci:{layout}:app", f"oci-archive:{path}:1.0")
    return path


def contents(image: ArchiveImage) -> dict[str, bytes]:
    return {blob.digest: blob.open().read() for blob in image.blobs}


def test_skopeos_docker_archive(docker_archive: Path) -> None:
    with docker_archive.open("rb") as file, open_archive(file) as archive:
        (image,) = archive.images
        assert image.references == ("docker.io/team/app:1.0", "docker.io/team/app:2.0")
        found = contents(image)
        parsed = parse_manifest(image.manifests[0].content)
        assert parsed.config is not None
        assert found[parsed.config.digest] == skopeo("inspect", "--config", "--raw", f"docker-archive:{docker_archive}")
        config = parse_config(found[parsed.config.digest])
        assert config.cmd == ("/srv/second",)
        assert config.labels == {"a": "b"}
        plain = [gzip.decompress(found[layer.digest]) for layer in parsed.layers]
        assert [digest_of(layer) for layer in plain] == list(config.diff_ids)
        assert len(plain) == 2


def test_skopeos_oci_archive(oci_archive: Path, layout: Path) -> None:
    with oci_archive.open("rb") as file, open_archive(file) as archive:
        (image,) = archive.images
        assert image.references == ("1.0",)
        assert image.manifests[0].content == skopeo("inspect", "--raw", f"oci:{layout}:app")
        assert len(contents(image)) == 3


def test_a_layout_packed_with_tar(layout: Path, tmp_path: Path) -> None:
    path = tmp_path / "layout.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(layout, ".")
    with path.open("rb") as file, open_archive(file) as archive:
        assert sorted(image.references for image in archive.images) == [("app",), ("base",)]
        base = {blob.digest for blob in next(i for i in archive.images if i.references == ("base",)).blobs}
        app = {blob.digest for blob in next(i for i in archive.images if i.references == ("app",)).blobs}
        assert len(base & app) == 1


def test_a_docker_archive_of_several_images(layout: Path, tmp_path: Path) -> None:
    """skopeo cannot write one, so two are joined as docker save would."""
    members: dict[str, bytes] = {}
    items = []
    for name in ("base", "app"):
        path = tmp_path / f"{name}.tar"
        skopeo("copy", f"oci:{layout}:{name}", f"docker-archive:{path}:{name}:1")
        with tarfile.open(path) as tar:
            for member in filter(tarfile.TarInfo.isfile, tar):
                members[member.name] = tar.extractfile(member).read()  # type: ignore[union-attr]
        items += json.loads(members.pop("manifest.json"))
    joined = tmp_path / "joined.tar"
    (tmp_path / "manifest.json").write_text(json.dumps(items))
    with tarfile.open(joined, "w") as tar:
        for name, content in members.items():
            (tmp_path / "member").write_bytes(content)
            tar.add(tmp_path / "member", name)
        tar.add(tmp_path / "manifest.json", "manifest.json")
    with joined.open("rb") as file, open_archive(file) as archive:
        base, app = archive.images
        assert len({blob.digest for blob in base.blobs} & {blob.digest for blob in app.blobs}) == 1
        assert contents(app).keys() >= {blob.digest for blob in app.blobs}


@pytest.mark.parametrize("kind", ["docker_archive", "oci_archive"])
def test_a_real_archive_cut_short_is_refused(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    content = request.getfixturevalue(kind).read_bytes()
    for share in (0.01, 0.5, 0.9):
        path = tmp_path / "cut.tar"
        path.write_bytes(content[: int(len(content.rstrip(b"\0")) * share)])
        with path.open("rb") as file, pytest.raises(ArchiveError):
            open_archive(file)


def test_skopeo_reads_what_is_written_here(oci_archive: Path, tmp_path: Path) -> None:
    ours, copy = tmp_path / "ours.tar", tmp_path / "copy"
    with oci_archive.open("rb") as file, open_archive(file) as archive:
        (image,) = archive.images
        root = image.manifests[-1]
        annotations = {"org.opencontainers.image.ref.name": "1.0"}
        entry = {"mediaType": root.media_type, "digest": root.digest, "size": root.size, "annotations": annotations}
        index = {"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": [entry]}
        with ours.open("wb") as target:
            write_oci_archive(target, [*image.blobs, *image.manifests], json.dumps(index).encode())
    skopeo("copy", f"oci-archive:{ours}:1.0", f"dir:{copy}")
    assert (copy / "manifest.json").read_bytes() == root.content
