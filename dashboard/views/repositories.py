"""Repositories and their tags."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from dashboard.access import registry_for, repository_for
from dashboard.forms.filters import RepositoryFilter, TagFilter
from dashboard.models import Scan
from dashboard.selectors import repositories as selectors
from dashboard.selectors import tags


@require_safe
def repository_list(request: HttpRequest, slug: str) -> HttpResponse:
    """A level of the namespaces, or what a search finds; a search that names one thing exactly goes to it."""
    registry = registry_for(request.user, slug)
    values = RepositoryFilter(request.GET).values
    q = values["q"].strip()
    if found := selectors.jump(registry, q):
        repository, tag, digest = found
        if digest:
            query = f"?{urlencode({'tag': tag})}" if tag else ""
            return redirect(reverse("manifest_detail", args=[slug, digest, repository]) + query)
        return redirect(reverse("repository_tags", args=[slug, repository]) + f"?{urlencode({'q': tag})}")
    page = selectors.repository_page(
        registry, q=q, namespace=values["namespace"].strip("/"), sort=values["sort"], page=values["page"]
    )
    namespace = "" if q else values["namespace"].strip("/")
    context = {
        "registry": registry,
        "page": page,
        "q": q,
        "namespace": namespace,
        "parents": selectors.parents(namespace),
        "sort": values["sort"],
        "scan": Scan.objects.filter(registry=registry, generation=registry.generation).only("finished", "keys").first(),
    }
    return render(request, "dashboard/repository_list.html", context)


@require_safe
def repository_tags(request: HttpRequest, slug: str, repository: str) -> HttpResponse:
    """A repository's tags, untagged manifests or referrers."""
    registry = registry_for(request.user, slug)
    row = repository_for(request.user, registry, repository)
    values = TagFilter(request.GET).values
    tab, matches = values["tab"], None
    if tab == "untagged":
        page = tags.untagged_page(row, values["at"])
    elif tab == "referrers":
        page = tags.referrer_page(row, values["at"])
    else:
        page, matches = tags.tag_page(row, q=values["q"], sort=values["sort"], at=values["at"])
    context = {
        "registry": registry,
        "repository": row,
        "parents": selectors.parents(repository),
        "page": page,
        "matches": matches,
        "tab": tab,
        "q": values["q"],
        "sort": values["sort"],
    }
    return render(request, "dashboard/repository_tags.html", context)
