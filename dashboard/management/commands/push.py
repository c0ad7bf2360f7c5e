"""manage.py push <registry> <repository:tag> <archive>: upload an image archive in chunks, in the foreground."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.files.base import File
from django.core.management.base import CommandError
from django.template.defaultfilters import filesizeformat

from dashboard.management.commands._job import FAILED, JobCommand
from dashboard.services.imports import receive_archive


class Command(JobCommand):
    """Checks every digest first; publishes blobs, then links, then the manifest, then the tag."""

    help = "Push a docker-archive or oci-archive into a registry's bucket."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("reference", help="repository:tag to publish as.")
        parser.add_argument("archive", type=Path, help="The archive: docker save, or skopeo's docker- or oci-archive.")

    def handle(self, *args: Any, **options: Any) -> None:
        registry = self.registry(options["registry"])
        path: Path = options["archive"]
        try:
            with path.open("rb") as file:
                upload = File(file, name=path.name)
                job = receive_archive(registry=registry, actor=None, upload=upload, reference=options["reference"])
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.", returncode=FAILED) from error
        except ValidationError as error:
            raise CommandError(" ".join(error.messages), returncode=FAILED) from error
        figures = self.run(job)
        sentence = (
            f"{figures['repository']}:{figures['tag']} is {figures['digest']}: {figures['blobs_sent']} blobs sent "
            f"({filesizeformat(figures['bytes_sent'])}), {figures['blobs_skipped']} already there."
        )
        self.report(figures, sentence, as_json=options["json"])
