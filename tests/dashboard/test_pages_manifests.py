"""The page of a manifest. What it shows was written by strangers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client

from dashboard.models import Manifest, Reference, Registry, Repository, Role, Tag
from dashboard.selectors import manifests as selectors
from tests.dashboard.factories import (
    digest_of,
    make_blob,
    make_manifest,
    make_member,
    make_reference,
    make_registry,
    make_repository,
    make_revision,
    make_tag,
)

pytestmark = pytest.mark.django_db
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


@pytest.fixture
def registry() -> Registry:
    return make_registry("alpha", public_host="registry.example.org")


@pytest.fixture
def repository(registry: Registry) -> Repository:
    return make_repository(registry, "team/api")


@pytest.fixture
def show(client: Client, registry: Registry) -> Any:
    """Fetch a manifest's page as a viewer; give its text."""
    client.force_login(make_member(registry, Role.VIEWER))

    def fetch(manifest: Manifest, query: str = "", repository: str = "team/api") -> str:
        response = client.get(f"/r/alpha/manifests/{manifest.digest}/{repository}{query}")
        assert response.status_code == 200
        return response.content.decode()

    return fetch


def make_image(repository: Repository, **fields: Any) -> Manifest:
    """A tagged image of two layers with three build steps."""
    history = [
        {"created_by": "/bin/sh -c #(nop) ADD file:1 in / "},
        {"created_by": "ENV A=1", "empty_layer": True},
        {"created_by": "RUN /bin/sh -c make all # buildkit"},
    ]
    config = {"history": history, "labels": {}, "env": ["A=1"]}
    manifest = make_manifest(repository.registry, "image", **({"config": config} | fields))
    for position, size in enumerate((300, 100)):
        digest = digest_of(f"layer {position}")
        make_reference(manifest, Reference.Kind.LAYER, digest, position, size=size)
        make_blob(repository.registry, digest, size)
    make_tag(repository, "1.0", manifest)
    return manifest


def test_layers_show_the_step_that_made_them(repository: Repository) -> None:
    manifest = make_image(repository)
    rows = selectors.layers(manifest, list(manifest.references.all()))
    assert [(row.command, row.size, row.stored) for row in rows] == [
        ("ADD file:1 in /", 300, True),
        ("RUN make all", 100, True),
    ]


def test_a_history_that_does_not_fit_is_not_guessed_at(repository: Repository) -> None:
    manifest = make_image(repository, config={"history": [{"created_by": "ADD x"}]})
    rows = selectors.layers(manifest, list(manifest.references.all()))
    assert [row.command for row in rows] == ["", ""]


def test_a_layer_that_is_not_stored_is_missing(repository: Repository, show: Any) -> None:
    manifest = make_image(repository)
    repository.registry.blobs.filter(digest=digest_of("layer 1")).delete()
    assert show(manifest).count("Missing") == 1


def test_an_index_leads_to_its_children_and_marks_attestations(repository: Repository, show: Any) -> None:
    registry = repository.registry
    index = make_manifest(registry, "index", kind="index", label="index")
    image, note = make_manifest(registry, "image"), make_manifest(registry, "note")
    make_tag(repository, "latest", index)
    for position, child in enumerate((image, note)):
        make_revision(repository, child)
        annotations = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.digest}
        make_reference(
            index, Reference.Kind.CHILD, child.digest, position,
            platform="unknown/unknown" if position else "linux/amd64", annotations=annotations if position else {},
        )  # fmt: skip
    make_reference(index, Reference.Kind.CHILD, digest_of("gone"), 2, platform="linux/arm64")
    rows = selectors.children(repository, list(index.references.all()))
    assert [(row.platform, row.label, row.held) for row in rows] == [
        ("linux/amd64", "image", True),
        ("", "attestation", True),
        ("linux/arm64", "", False),
    ]
    assert f"/r/alpha/manifests/{image.digest}/team/api" in show(index)
    assert f"/r/alpha/manifests/{index.digest}/team/api" in show(image)


def test_referrers_are_found_by_subject_and_by_cosign_tag(repository: Repository) -> None:
    manifest = make_image(repository)
    signature = make_manifest(repository.registry, "signature", label="signature", subject_digest=manifest.digest)
    make_revision(repository, signature)
    tagged = make_tag(repository, manifest.digest.replace(":", "-") + ".sbom")
    rows = selectors.referrers(repository, manifest)
    assert [(row.label, row.digest) for row in rows] == [("SBOM", tagged.digest), ("signature", signature.digest)]


def test_an_unreadable_manifest_says_why(repository: Repository, show: Any) -> None:
    manifest = make_manifest(repository.registry, kind="", label="", content=b"", error="It is larger than 4 MiB.")
    make_tag(repository, "big", manifest)
    text = show(manifest)
    assert "It is larger than 4 MiB." in text
    assert "docker pull" not in text


def test_a_manifest_of_another_repository_is_not_found(repository: Repository, client: Client, show: Any) -> None:
    other = make_tag(make_repository(repository.registry, "team/web"))
    assert client.get(f"/r/alpha/manifests/{other.digest}/team/api").status_code == 404


@pytest.mark.parametrize(
    "path", ["sha256:00/team/api", f"{digest_of('x')}/Team", f"{digest_of('x')}/a//b", f"md5:{'0' * 32}/a"]
)
def test_what_is_no_digest_or_repository_is_not_found(client: Client, registry: Registry, path: str) -> None:
    client.force_login(make_member(registry, Role.VIEWER))
    assert client.get(f"/r/alpha/manifests/{path}").status_code == 404


class TestHostileContent:
    @pytest.fixture
    def manifest(self, repository: Repository) -> Manifest:
        config = {
            "labels": {EVIL: EVIL, "link": "javascript:alert(1)", "data": "data:text/html,<script>", "url": f"https://x/{EVIL}"},
            "env": [EVIL], "cmd": [EVIL], "user": EVIL, "author": EVIL, "exposed_ports": [EVIL], "volumes": [EVIL],
            "history": [{"created_by": EVIL, "comment": EVIL}, {"created_by": f"/bin/sh -c #(nop) {EVIL}"}],
        }  # fmt: skip
        content = json.dumps({"annotations": {EVIL: EVIL}}).encode()
        return make_image(
            repository, config=config, annotations={EVIL: EVIL}, media_type=EVIL[:200], artifact_type=EVIL, label="artifact",
            content=content,
        )  # fmt: skip

    @pytest.mark.parametrize("tab", ["layers", "config", "history", "annotations", "referrers", "raw"])
    def test_it_is_text_on_every_tab(self, manifest: Manifest, show: Any, tab: str) -> None:
        text = show(manifest, f"?tab={tab}&tag={EVIL}")
        assert "&lt;script&gt;alert(1)" in text
        assert "<script>alert" not in text
        assert "<img src=x" not in text

    def test_only_web_addresses_become_links(self, manifest: Manifest, show: Any) -> None:
        text = show(manifest, "?tab=config")
        assert not re.findall(r'href="(?:javascript|data):', text)

    def test_a_link_sends_nothing_about_us(self, repository: Repository, show: Any) -> None:
        manifest = make_image(repository, config={"labels": {"source": "https://git.example.org/api"}})
        (link,) = re.findall(r'<a href="https://git[^>]*>', show(manifest, "?tab=config"))
        assert 'rel="noopener nofollow noreferrer"' in link


class TestRaw:
    def test_the_download_is_byte_for_byte(self, repository: Repository, client: Client, show: Any) -> None:
        content = b'{ "schemaVersion" :2,\n\n"x":"<script>" }'
        manifest = make_image(repository, content=content)
        show(manifest)
        response = client.get(f"/r/alpha/raw/{manifest.digest}/team/api")
        assert response.content == content

    def test_no_browser_will_render_it(self, repository: Repository, client: Client, show: Any) -> None:
        manifest = make_image(repository, content=b"<html>")
        show(manifest)
        response = client.get(f"/r/alpha/raw/{manifest.digest}/team/api")
        assert response["Content-Type"] == "application/octet-stream"
        assert response["Content-Disposition"].startswith('attachment; filename="sha256-')
        assert response["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in response["Content-Security-Policy"]

    def test_the_lines_are_the_document(self) -> None:
        document = {
            "a": [1, -2.5, True, None, {}, []],
            "b c": 'quote " and \\ and : {',
            "ü": {"deep": ["x", {"y": "z,"}]},
        }
        lines, cut = selectors.json_lines(json.dumps(document).encode())
        text = "\n".join(line.indent + line.key + line.value + line.end for line in lines)
        assert json.loads(text) == document
        assert not cut

    def test_a_long_document_is_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(selectors, "MAX_JSON_LINES", 3)
        lines, cut = selectors.json_lines(b"[1, 2, 3, 4]")
        assert (len(lines), cut) == (3, True)

    def test_a_lone_surrogate_is_shown_as_it_was_written(self, repository: Repository, show: Any) -> None:
        assert "x\\ud800y" in show(make_image(repository, content=b'{"a": "x\\ud800y"}'), "?tab=raw")

    def test_what_is_not_json_shows_an_empty_tab(self, repository: Repository, show: Any) -> None:
        assert "There is nothing to show" in show(make_image(repository, content=b"\xff"), "?tab=raw")


@pytest.mark.parametrize(
    ("raw", "readable"),
    [
        ('/bin/sh -c #(nop)  CMD ["sh"]', 'CMD ["sh"]'),
        ("/bin/sh -c #(nop) ADD file:3b in / ", "ADD file:3b in /"),
        ("/bin/sh -c apk add curl", "RUN apk add curl"),
        ("RUN /bin/sh -c apk add curl # buildkit", "RUN apk add curl"),
        ("RUN |1 VERSION=2 /bin/sh -c make # buildkit", "RUN make"),
        ("COPY dist /srv # buildkit", "COPY dist /srv"),
        ("RUN /bin/bash -c set -e\nmake", "RUN set -e\nmake"),
        ("bazel build ...", "bazel build ..."),
        ("", ""),
    ],
)
def test_build_steps_read_like_a_dockerfile(raw: str, readable: str) -> None:
    assert selectors.readable_command(raw) == readable


class TestPullCommands:
    def commands(self, label: str, tag: str = "1.0") -> dict[str, str]:
        return dict(selectors.pull_commands("host:5000", "team/api", tag, "sha256:ab", label))

    def test_an_image_by_tag(self) -> None:
        assert self.commands("image")["Docker"] == "docker pull host:5000/team/api:1.0"

    def test_an_image_without_a_tag_by_digest(self) -> None:
        assert self.commands("index", "")["Podman"] == "podman pull host:5000/team/api@sha256:ab"

    def test_a_chart_by_helm_whose_versions_have_a_plus(self) -> None:
        assert self.commands("Helm chart", "1.0_a")["Helm"] == "helm pull oci://host:5000/team/api --version 1.0+a"

    def test_an_artifact_by_oras(self) -> None:
        assert list(self.commands("SBOM")) == ["ORAS", "Skopeo"]

    def test_without_a_public_host_the_page_says_what_is_missing(self, repository: Repository, show: Any) -> None:
        Registry.objects.update(public_host="")
        assert "public host is known" in show(make_image(repository))


def test_a_tag_of_another_manifest_is_not_believed(repository: Repository, show: Any) -> None:
    manifest = make_image(repository)
    make_tag(repository, "other")
    assert "team/api:other" not in show(manifest, "?tag=other")


def test_a_tag_beyond_those_shown_is_believed(repository: Repository, show: Any) -> None:
    manifest = make_image(repository)
    for number in range(60):
        make_tag(repository, f"2.{number}", manifest)
    text = show(manifest, "?tag=2.59")
    assert "team/api:2.59" in text
    assert "and 11 more" in text


def test_a_tag_whose_revision_is_gone_still_shows(repository: Repository, show: Any) -> None:
    tag = make_tag(repository, "latest")
    repository.revisions.all().delete()
    assert "team/api" in show(Tag.objects.get(pk=tag.pk).manifest)
