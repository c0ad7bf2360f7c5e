"""Query strings as typed filters. A value that makes no sense is as if it were not there: links age, pages must not."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms

from dashboard.jobs import KINDS
from dashboard.models import Job

STALE_HOURS = 168  # an upload is stale when nothing was written to it for a week


class FilterForm(forms.Form):
    """A form on the query string that always has values: what is absent or wrong takes its default."""

    defaults: ClassVar[dict[str, Any]] = {}

    @property
    def values(self) -> dict[str, Any]:
        """Return every field's value."""
        self.is_valid()
        return {
            name: self.defaults.get(name, field.empty_value if isinstance(field, forms.CharField) else None)
            if self.cleaned_data.get(name) in (None, "")
            else self.cleaned_data[name]
            for name, field in self.fields.items()
        }


class RepositoryFilter(FilterForm):
    """Repositories: a search goes through all of them, without one a namespace is shown as a folder."""

    defaults = {"sort": "name", "page": 1}

    q = forms.CharField(max_length=300, required=False)
    namespace = forms.CharField(max_length=255, required=False)
    sort = forms.ChoiceField(
        choices=[(f"{sign}{key}",) * 2 for key in ("name", "tags", "size", "updated") for sign in ("", "-")],
        required=False,
    )
    page = forms.IntegerField(min_value=1, max_value=10**9, required=False)


class TagFilter(FilterForm):
    """Tags of a repository, or its manifests without a tag, or what refers to them."""

    defaults = {"tab": "tags", "sort": "name"}

    tab = forms.ChoiceField(choices=[(name, name) for name in ("tags", "untagged", "referrers")], required=False)
    q = forms.CharField(max_length=128, required=False)
    sort = forms.ChoiceField(
        choices=[(f"{sign}{key}",) * 2 for key in ("name", "size", "updated") for sign in ("", "-")], required=False
    )
    at = forms.CharField(max_length=1200, required=False)


class UploadFilter(FilterForm):
    """Unfinished uploads by the time since anything was written to them."""

    defaults = {"older": STALE_HOURS}

    older = forms.IntegerField(min_value=0, max_value=10**5, required=False)
    at = forms.CharField(max_length=1200, required=False)


class JobFilter(FilterForm):
    """Jobs by state, kind and registry."""

    state = forms.ChoiceField(choices=Job.State.choices, required=False)
    kind = forms.ChoiceField(choices=lambda: [(name, kind.title) for name, kind in KINDS.items()], required=False)
    registry = forms.SlugField(max_length=50, required=False)
    at = forms.CharField(max_length=1200, required=False)
