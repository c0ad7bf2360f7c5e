"""Taking in an image archive."""

from __future__ import annotations

from django import forms


class ArchiveForm(forms.Form):
    """An archive and the name it gets. What they mean is checked by services.imports, field by field."""

    archive = forms.FileField(
        label="Archive",
        allow_empty_file=False,
        help_text="A docker-archive (docker save) or an oci-archive (skopeo, podman, buildx), gzip-compressed or not.",
        error_messages={"required": "Choose a file.", "empty": "This file is empty."},
    )
    reference = forms.CharField(
        label="Store as",
        required=False,
        max_length=400,
        help_text="repository:tag, for example team/api:1.4. Leave it empty to keep the names that the archive holds.",
    )
