"""One manifest of a repository, as its page shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from dashboard.models import Blob, Manifest, Reference, Registry, Repository, Revision, Tag
from storagedriver.layout.references import is_tag

MAX_TAGS = 50  # shown beside a manifest; more are counted
MAX_REFERRERS = 200
MAX_JSON_LINES = 5000
ATTESTATION = "vnd.docker.reference.type"
COSIGN_SUFFIXES = {".sig": "signature", ".att": "attestation", ".sbom": "SBOM", "": "referrers"}


@dataclass(frozen=True)
class LayerRow:
    """A layer with the build step that made it; `stored` is False when the last scan saw no such blob."""

    position: int
    digest: str
    size: int
    media_type: str
    command: str
    stored: bool
    storage_class: str


@dataclass(frozen=True)
class ChildRow:
    """An entry of an index. `label` is empty when the child was not read; `held` says whether the repository has it."""

    digest: str
    platform: str
    label: str
    size: int
    total_size: int | None
    held: bool
    attests: str


@dataclass(frozen=True)
class Step:
    """A line of the build history; `size` is None for a step that made no layer."""

    number: int
    command: str
    raw: str
    comment: str
    created: str
    size: int | None


@dataclass(frozen=True)
class ReferrerRow:
    """What names the manifest as its subject, by the OCI field or by cosign's tag."""

    label: str
    artifact_type: str
    digest: str
    size: int
    tag: str


@dataclass(frozen=True)
class JsonLine:
    """A line of formatted JSON, cut so that a template can colour its key and its value."""

    indent: str
    key: str
    value: str
    kind: str
    end: str


def find_manifest(registry: Registry, repository_name: str, digest: str) -> tuple[Repository, Manifest]:
    """Return a repository and a manifest that it holds, without the content. Raises DoesNotExist."""
    repository = Repository.objects.get(registry=registry, name=repository_name)
    rows = Manifest.objects.filter(registry=registry, digest=digest).defer("content")
    manifest = rows.filter(Q(revisions__repository=repository) | Q(tags__repository=repository)).first()
    if manifest is None:
        raise Manifest.DoesNotExist
    return repository, manifest


def manifest_tags(repository: Repository, manifest: Manifest) -> tuple[list[str], int]:
    """Return the first tags of the repository that point at the manifest, and how many more there are."""
    rows = Tag.objects.filter(repository=repository, manifest=manifest).order_by("order", "name")
    names = list(rows.values_list("name", flat=True)[: MAX_TAGS + 1])
    more = rows.count() - MAX_TAGS if len(names) > MAX_TAGS else 0
    return names[:MAX_TAGS], more


def has_tag(repository: Repository, manifest: Manifest, name: str) -> bool:
    """Say whether the tag points at the manifest."""
    return is_tag(name) and Tag.objects.filter(repository=repository, manifest=manifest, name=name).exists()


def parents(repository: Repository, manifest: Manifest) -> list[str]:
    """Return the digests of the indexes in the repository that list the manifest."""
    rows = Reference.objects.filter(
        digest=manifest.digest, kind=Reference.Kind.CHILD, manifest__revisions__repository=repository
    )
    return list(rows.values_list("manifest__digest", flat=True).distinct()[:MAX_TAGS])


def layers(manifest: Manifest, references: Sequence[Reference]) -> list[LayerRow]:
    """Return the layers, base first."""
    own = [reference for reference in references if reference.kind == Reference.Kind.LAYER]
    blobs = dict(
        Blob.objects.filter(
            registry=manifest.registry_id, digest__in={reference.digest for reference in own}
        ).values_list("digest", "storage_class")
    )
    commands = [step.command for step in history(manifest, ()) if step.size is not None]
    if len(commands) != len(own):
        commands = [""] * len(own)  # the history does not fit the layers: no guessing
    return [
        LayerRow(
            position=position + 1,
            digest=reference.digest,
            size=reference.size,
            media_type=reference.media_type,
            command=command,
            stored=reference.digest in blobs,
            storage_class=blobs.get(reference.digest, ""),
        )
        for position, (reference, command) in enumerate(zip(own, commands, strict=True))
    ]


def children(repository: Repository, references: Sequence[Reference]) -> list[ChildRow]:
    """Return the entries of an index, attestations with the digest that they speak about."""
    own = [reference for reference in references if reference.kind == Reference.Kind.CHILD]
    rows = Revision.objects.filter(repository=repository, manifest__digest__in={row.digest for row in own})
    known = {
        digest: (label, size)
        for digest, label, size in rows.values_list("manifest__digest", "manifest__label", "manifest__total_size")
    }
    result = []
    for reference in own:
        annotations = reference.annotations
        attests = annotations.get("vnd.docker.reference.digest", "") if ATTESTATION in annotations else ""
        label, total = known.get(reference.digest, ("", None))
        result.append(
            ChildRow(
                digest=reference.digest,
                platform="" if reference.platform == "unknown/unknown" else reference.platform,
                label="attestation" if ATTESTATION in annotations else label,
                size=reference.size,
                total_size=total,
                held=reference.digest in known,
                attests=attests,
            )
        )
    return result


def history(manifest: Manifest, references: Sequence[Reference]) -> list[Step]:
    """Return the build steps. Sizes are those of the layers, where steps and layers fit together."""
    steps = manifest.config.get("history") or []
    sizes = [reference.size for reference in references if reference.kind == Reference.Kind.LAYER]
    makes_layer = [not step.get("empty_layer") for step in steps]
    if sum(makes_layer) != len(sizes):
        sizes = [0] * sum(makes_layer)
    left = iter(sizes)
    return [
        Step(
            number=number,
            command=readable_command(step.get("created_by", "")),
            raw=step.get("created_by", ""),
            comment=step.get("comment", ""),
            created=step.get("created", ""),
            size=next(left) if layer else None,
        )
        for number, (step, layer) in enumerate(zip(steps, makes_layer, strict=True), start=1)
    ]


def readable_command(text: str) -> str:
    """Return a build step as a Dockerfile would have it: without the shell and the marks that builders add.

    >>> readable_command("/bin/sh -c #(nop)  CMD [\\"sh\\"]")
    'CMD ["sh"]'
    >>> readable_command("RUN /bin/sh -c apk add curl # buildkit")
    'RUN apk add curl'
    """
    text = re.sub(r"\s*# buildkit\s*$", "", text.strip())
    if found := re.match(r"(?:/bin/(?:ba)?sh -c\s+)#\(nop\)\s*(.*)", text, re.DOTALL):
        return found[1].strip()
    if found := re.match(r"(?:RUN\s+)?((?:\|\d+\s.*?\s)?)/bin/(?:ba)?sh -c\s+(.*)", text, re.DOTALL):
        return f"RUN {found[2].strip()}"
    return text


def referrers(repository: Repository, manifest: Manifest) -> list[ReferrerRow]:
    """Return what in the repository refers to the manifest, by `subject` or by a tag made of its digest."""
    base = manifest.digest.replace(":", "-")
    names = [f"{base}{suffix}" for suffix in COSIGN_SUFFIXES]
    tags = (
        Tag.objects.filter(repository=repository, name__in=names).select_related("manifest").defer("manifest__content")
    )
    rows = [
        ReferrerRow(
            label=COSIGN_SUFFIXES[tag.name.removeprefix(base)],
            artifact_type=tag.manifest.artifact_type if tag.manifest else "",
            digest=tag.digest,
            size=tag.manifest.total_size if tag.manifest else 0,
            tag=tag.name,
        )
        for tag in tags
    ]
    subjects = Manifest.objects.filter(
        registry=manifest.registry_id, subject_digest=manifest.digest, revisions__repository=repository
    ).order_by("pk")
    rows += [
        ReferrerRow(label=label, artifact_type=artifact_type or media_type, digest=digest, size=size, tag="")
        for label, artifact_type, media_type, digest, size in subjects.values_list(
            "label", "artifact_type", "media_type", "digest", "total_size"
        )[:MAX_REFERRERS]
    ]
    return rows


def json_lines(content: bytes) -> tuple[list[JsonLine], bool]:
    """Return a manifest's bytes as formatted lines, and whether the rest was left out. Raises ValueError."""
    text = json.dumps(json.loads(content), indent=2, ensure_ascii=False)
    text = text.encode(errors="backslashreplace").decode()  # a lone surrogate stays as it was written: \ud800
    found = text.split("\n", MAX_JSON_LINES)
    return [_json_line(line) for line in found[:MAX_JSON_LINES]], len(found) > MAX_JSON_LINES


_match_line = re.compile(r'(\s*)("(?:[^"\\]|\\.)*": )?(.*?)(,?)', re.DOTALL).fullmatch


def _json_line(line: str) -> JsonLine:
    found = _match_line(line)
    if found is None:  # the expression takes any text
        raise ValueError(line)
    value = found[3]
    kind = "string" if value.startswith('"') else "" if value[:1] in tuple("{}[]") else "other"
    return JsonLine(found[1], found[2] or "", value, kind, found[4])


def pull_commands(host: str, repository: str, tag: str, digest: str, label: str) -> list[tuple[str, str]]:
    """Return (tool, command) pairs that fetch the manifest with the tools that fit its kind."""
    name = f"{host}/{repository}"
    target = f"{name}:{tag}" if tag else f"{name}@{digest}"
    if label == "Helm chart":
        by_tag = f"helm pull oci://{name} --version {tag.replace('_', '+')}"
        return [("Helm", by_tag if tag else f"helm pull oci://{name}@{digest}"), ("ORAS", f"oras pull {target}")]
    if label in ("image", "index", ""):
        local = repository.rpartition("/")[2]
        return [
            ("Docker", f"docker pull {target}"),
            ("Podman", f"podman pull {target}"),
            ("Skopeo", f"skopeo copy docker://{target} oci-archive:{local}.tar"),
        ]
    return [("ORAS", f"oras pull {target}"), ("Skopeo", f"skopeo inspect --raw docker://{target}")]


def config_facts(config: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return what an image's config says about how it runs, as (name, values) pairs without the empty ones."""
    facts = [
        ("Entrypoint", [_shell_words(config.get("entrypoint"))]),
        ("Command", [_shell_words(config.get("cmd"))]),
        ("User", [config.get("user", "")]),
        ("Working directory", [config.get("working_dir", "")]),
        ("Ports", config.get("exposed_ports") or []),
        ("Volumes", config.get("volumes") or []),
        ("Stop signal", [config.get("stop_signal", "")]),
        ("Author", [config.get("author", "")]),
        ("Environment", config.get("env") or []),
    ]
    return [(name, values) for name, values in facts if any(values)]


def _shell_words(words: list[str] | None) -> str:
    return json.dumps(words, ensure_ascii=False) if words else ""
