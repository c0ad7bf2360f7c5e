"""One manifest: what it is made of, and its bytes."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard.access import registry_for
from dashboard.models import Manifest, Reference, Repository
from dashboard.selectors import manifests as selectors
from dashboard.selectors.repositories import parents


@require_safe
def manifest_detail(request: HttpRequest, slug: str, digest: str, repository: str) -> HttpResponse:
    """The manifest in tabs; each tab asks only for what it shows."""
    registry = registry_for(request.user, slug)
    row, manifest = held_manifest(registry, repository, digest)
    tag_names, more_tags = selectors.manifest_tags(row, manifest)
    given = request.GET.get("tag", "")
    known = given in tag_names or (more_tags and selectors.has_tag(row, manifest, given))
    tag = given if known else ""
    references = list(Reference.objects.filter(manifest=manifest).order_by("kind", "position"))
    referrers = selectors.referrers(row, manifest)
    tabs = available_tabs(manifest, references, len(referrers))
    tab = request.GET.get("tab", "")
    tab = tab if tab in {name for name, _, _ in tabs} else tabs[0][0]
    context: dict[str, Any] = {
        "registry": registry,
        "repository": row,
        "parents": parents(repository),
        "manifest": manifest,
        "tags": tag_names,
        "more_tags": more_tags,
        "tag": tag,
        "indexes": selectors.parents(row, manifest),
        "tabs": tabs,
        "tab": tab,
        "referrers": referrers,
    }
    if registry.public_host and not manifest.error:
        pull_tag = tag or (tag_names[0] if tag_names else "")
        context["commands"] = selectors.pull_commands(
            registry.public_host, repository, pull_tag, digest, manifest.label
        )
    if tab == "layers":
        context["layers"] = selectors.layers(manifest, references)
        context["largest"] = max((layer.size for layer in context["layers"]), default=0)
    elif tab == "platforms":
        context["children"] = selectors.children(row, references)
    elif tab == "config":
        context["facts"] = selectors.config_facts(manifest.config)
    elif tab == "history":
        context["steps"] = selectors.history(manifest, references)
    elif tab == "raw":
        context |= raw_lines(manifest)
    return render(request, "dashboard/manifest_detail.html", context)


@require_safe
def manifest_raw(request: HttpRequest, slug: str, digest: str, repository: str) -> HttpResponse:
    """Download the manifest byte for byte."""
    registry = registry_for(request.user, slug)
    _, manifest = held_manifest(registry, repository, digest)
    if not manifest.content:
        raise Http404("This manifest could not be read.")
    algorithm, _, hexadecimal = digest.partition(":")
    # Never text/html and never inline: the bytes are a stranger's.
    headers = {
        "Content-Disposition": f'attachment; filename="{algorithm}-{hexadecimal}.json"',
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    return HttpResponse(bytes(manifest.content), content_type="application/octet-stream", headers=headers)


def held_manifest(registry: Any, repository: str, digest: str) -> tuple[Repository, Manifest]:
    """Return a repository and its manifest. Raises Http404."""
    try:
        return selectors.find_manifest(registry, repository, digest)
    except (Repository.DoesNotExist, Manifest.DoesNotExist):
        raise Http404("This repository holds no such manifest.") from None


def available_tabs(
    manifest: Manifest, references: list[Reference], referrers: int
) -> list[tuple[str, str, int | None]]:
    """Return (name, title, number) of the tabs that have something to show."""
    layers = sum(reference.kind == Reference.Kind.LAYER for reference in references)
    children = sum(reference.kind == Reference.Kind.CHILD for reference in references)
    history = manifest.config.get("history") or []
    tabs: list[tuple[str, str, int | None]] = []
    if children or manifest.kind == Manifest.Kind.INDEX:
        tabs.append(("platforms", "Platforms", children))
    if layers:
        tabs.append(("layers", "Layers" if manifest.label == "image" else "Files", layers))
    if manifest.config:
        tabs.append(("config", "Config", None))
    if history:
        tabs.append(("history", "History", len(history)))
    if manifest.annotations:
        tabs.append(("annotations", "Annotations", len(manifest.annotations)))
    tabs.append(("referrers", "Referrers", referrers))
    tabs.append(("raw", "Raw", None))
    return tabs


def raw_lines(manifest: Manifest) -> dict[str, Any]:
    """Return the formatted lines of the manifest, none when it was not read."""
    try:
        lines, cut = selectors.json_lines(bytes(manifest.content))
    except (ValueError, RecursionError):
        return {"lines": [], "cut": False}
    return {"lines": lines, "cut": cut}
