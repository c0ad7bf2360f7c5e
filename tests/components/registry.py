"""Debian's docker-registry on a bucket, and the part of its API that the tests ask."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tests.components.process import Process, free_port, need
from tests.components.s3 import ACCESS_KEY, REGION, SECRET_KEY

MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


@dataclass(frozen=True)
class Response:
    """An answer of the registry; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class DockerRegistry:
    """A registry at `host` that stores into a bucket of the S3 server at `endpoint`."""

    def __init__(self, folder: Path, endpoint: str, bucket: str, root_directory: str = "") -> None:
        program = need("docker-registry")
        port = free_port()
        self.host = f"127.0.0.1:{port}"
        storage = {
            "accesskey": ACCESS_KEY,
            "secretkey": SECRET_KEY,
            "region": REGION,
            "regionendpoint": endpoint,
            "bucket": bucket,
            "secure": False,
            "v4auth": True,
            "chunksize": 5 * 2**20,
            "rootdirectory": root_directory,
        }
        config = {
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {
                "s3": storage,
                "delete": {"enabled": True},
                "redirect": {"disable": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": self.host, "secret": "tests"},
        }
        path = folder / f"registry-{port}.yml"
        path.write_text(json.dumps(config))  # JSON is YAML
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "REGISTRY_", "OTEL_"))}
        self._process = Process([program, "serve", path], folder / f"registry-{port}.log", env=env)
        self._process.wait_until(self._healthy)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Response:
        """Send one request to a path or a full URL of the registry."""
        url = path if path.startswith("http") else f"http://{self.host}{path}"
        try:
            with urlopen(Request(url, body, headers or {}, method=method), timeout=60) as response:
                status, found, content = response.status, response.headers, response.read()
        except HTTPError as error:
            with error:
                status, found, content = error.code, error.headers, error.read()
        return Response(status, {name.lower(): value for name, value in found.items()}, content)

    def repositories(self) -> list[str]:
        found: list[str] = self.request("GET", "/v2/_catalog?n=1000").json()["repositories"]
        return found

    def tags(self, repository: str) -> list[str]:
        """Return the tags, none if the registry does not know the repository's name."""
        return self.request("GET", f"/v2/{repository}/tags/list").json().get("tags") or []

    def head(self, repository: str, reference: str) -> Response:
        """Ask for a manifest by tag or digest, accepting every kind."""
        return self.request(
            "HEAD", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ", ".join(MANIFEST_TYPES)}
        )

    def digest(self, repository: str, tag: str) -> str:
        return self.head(repository, tag).headers["docker-content-digest"]

    def stop(self) -> None:
        self._process.stop()

    def _healthy(self) -> bool:
        try:
            return self.request("GET", "/v2/").status == 200
        except (URLError, ConnectionError):
            return False
