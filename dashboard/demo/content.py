"""What the demo registry holds: the pushes of an imaginary team over ninety days, and what they left behind."""

from __future__ import annotations

import datetime
import struct
from collections.abc import Mapping
from typing import Any, Final

from dashboard.demo.images import (
    Blob,
    Layer,
    Manifest,
    Step,
    artifact,
    attestation,
    chart,
    cosign_signature,
    image,
    index,
    layer,
    noise,
    program,
    to_json,
)
from dashboard.demo.registry import DemoRegistry, RegistryBuilder

KIB: Final = 1024
API_VERSIONS: Final = (
    *("1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8", "1.9", "1.10", "1.11", "1.12"),
    *("2.0.0-rc.1", "2.0.0-rc.2", "2.0.0", "2.0.1", "2.1.0", "2.1.1", "2.1.2"),
)
STALE_UPLOAD_ID: Final = "5f0c1d2e-8a4b-4c6d-9e7f-0a1b2c3d4e5f"
STALE_CONTENT: Final = noise("stale upload", 2048 * KIB)
# The eight words of SHA-256 before any byte (FIPS 180-4) and after STALE_CONTENT; hashlib does not tell the latter.
SHA256_START: Final = bytes.fromhex("6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19")
SHA256_STALE: Final = bytes.fromhex("9a1e89bdeaaa81872c8f9a75f250cfaa60db772ddf11b866ecd7d2df36912557")


def build_demo(now: datetime.datetime) -> DemoRegistry:
    """Return the demo registry as it would look at `now`; digests do not depend on it, dates do."""
    registry = RegistryBuilder(now)
    registry.leave_orphan(noise("a layer whose image was deleted", 1180 * KIB), days_ago=83)
    alpine = _push_bases(registry)
    _push_api(registry, alpine)
    _push_worker(registry, alpine)
    _push_web(registry)
    _push_charts(registry)
    _push_tools(registry)
    registry.leave_upload(
        "tools/backup",
        STALE_UPLOAD_ID,
        "demo-stale-upload",
        [STALE_CONTENT],
        {0: hash_state(SHA256_START, 0), len(STALE_CONTENT): hash_state(SHA256_STALE, len(STALE_CONTENT))},
        days_ago=9,
    )
    return registry.build()


def hash_state(words: bytes, length: int) -> bytes:
    """Return a SHA-256 state after `length` bytes, whole blocks, as Go's crypto/sha256 writes it and registries keep it."""
    return b"sha\x03" + words + bytes(64) + struct.pack(">Q", length)


def _labels(title: str, version: str, description: str) -> dict[str, str]:
    prefix = "org.opencontainers.image"
    return {
        f"{prefix}.title": title,
        f"{prefix}.version": version,
        f"{prefix}.description": description,
        f"{prefix}.source": f"https://git.example.com/{title}",
        f"{prefix}.licenses": "Apache-2.0",
        f"{prefix}.vendor": "Example Ltd",
    }


def _settings(command: list[str], labels: Mapping[str, str], **more: Any) -> dict[str, Any]:
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"Env": [path, *more.pop("env", [])], "Cmd": command, "Labels": dict(labels), **more}


def _alpine_root(version: str, architecture: str) -> Layer:
    return layer(
        {
            "bin/busybox": program(f"busybox {version} {architecture}", 780 * KIB),
            "etc/alpine-release": f"{version}.0\n",
            "etc/os-release": f'NAME="Alpine-like Linux"\nID=alpine-like\nVERSION_ID={version}.0\n',
            "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n",
            "lib/ld-musl.so.1": program(f"musl {version} {architecture}", 620 * KIB),
            "lib/libcrypto.so.3": program(f"libcrypto {version} {architecture}", 1450 * KIB),
        }
    )


def _alpine_steps(version: str, architecture: str = "amd64") -> list[Step]:
    root = _alpine_root(version, architecture)
    return [(f"ADD alpine-like-{version}-{architecture}.tar.gz / # buildkit", root), ('CMD ["/bin/sh"]', None)]


def _debian_steps() -> list[Step]:
    root = layer(
        {
            "etc/debian_version": "12.7\n",
            "etc/os-release": 'PRETTY_NAME="Debian-like GNU/Linux 12"\nID=debian-like\n',
            "usr/bin/bash": program("bash", 1210 * KIB),
            "usr/bin/perl": program("perl", 1700 * KIB),
            "usr/share/doc/base-files/README": "A small demo, not a distribution.\n",
        }
    )
    return [("ADD rootfs.tar.xz / # buildkit", root), ('CMD ["bash"]', None)]


def _push_bases(registry: RegistryBuilder) -> list[Step]:
    """Push the base images, one of them a multi-platform list of Docker's; return the steps of the newest."""
    for version, days_ago in (("3.18", 88), ("3.19", 61), ("3.20", 24)):
        labels = _labels("library/alpine-like", version, "The base image of most of ours")
        base = image(
            _alpine_steps(version), docker=True, created="2026-05-22T10:14:00Z", config=_settings(["/bin/sh"], labels)
        )
        registry.push("library/alpine-like", base, [version, "latest"], days_ago=days_ago)
    children: list[tuple[Manifest, Mapping[str, Any]]] = []
    for architecture, variant in (("amd64", ""), ("arm64", "v8")):
        python = layer(
            {
                "usr/local/bin/python3.12": program(f"python {architecture}", 2700 * KIB),
                "usr/local/lib/python3.12/os.py": "# Operating system interfaces\n" * 400,
            }
        )
        settings = _settings(
            ["python3"], _labels("library/python-like", "3.12", "A Python to build on"), env=["PYTHON_VERSION=3.12.4"]
        )
        platform = f"linux/{architecture}" + (f"/{variant}" if variant else "")
        steps = [
            *_alpine_steps("3.20", architecture),
            ("ENV PYTHON_VERSION=3.12.4", None),
            ("RUN /bin/sh -c ./configure --enable-optimizations && make install # buildkit", python),
            ('CMD ["python3"]', None),
        ]
        child = image(steps, docker=True, created="2026-06-11T07:30:12Z", config=settings, platform=platform)
        described = {"architecture": architecture, "os": "linux"} | ({"variant": variant} if variant else {})
        children.append((child, {"platform": described}))
    registry.push("library/python-like", index(children, docker=True), ["3.12", "3", "latest"], days_ago=22)
    return _alpine_steps("3.20")


def _api_image(alpine: list[Step], version: str, created: str) -> Manifest:
    ca_certificates = layer({"etc/ssl/certs/ca-certificates.crt": noise("certificates", 140 * KIB).hex()})
    binary = layer({"app/bin/api": program(f"api {version}", (230 + 9 * len(version)) * KIB + len(created))})
    configuration = layer({"app/etc/api.toml": f'# team/api {version}\nlisten = ":8080"\nlog = "json"\n'})
    return image(
        [
            *alpine,
            ("RUN /bin/sh -c apk add --no-cache ca-certificates # buildkit", ca_certificates),
            ("WORKDIR /app", None),
            ("COPY /out/api /app/bin/api # buildkit", binary),
            ("COPY api.toml /app/etc/api.toml # buildkit", configuration),
            ("USER 65534:65534", None),
            ("EXPOSE map[8080/tcp:{}]", None),
            ('ENTRYPOINT ["/app/bin/api"]', None),
        ],
        created=created,
        config=_settings(
            ["serve", "--config", "/app/etc/api.toml"],
            _labels("team/api", version, "Orders, customers and invoices over HTTP"),
            env=["LOG_LEVEL=info", "TZ=UTC"],
            Entrypoint=["/app/bin/api"],
            WorkingDir="/app",
            User="65534:65534",
            ExposedPorts={"8080/tcp": {}},
        ),
    )


def _push_api(registry: RegistryBuilder, alpine: list[Step]) -> None:
    """Push many versions, a tag that moved twice (two manifests lost their only tag) and a signature by tag."""
    step = 84 / len(API_VERSIONS)
    for number, version in enumerate(API_VERSIONS):
        built = _api_image(alpine, version, f"2026-{3 + number // 4:02}-{1 + 7 * (number % 4):02}T08:00:00Z")
        moving = [] if "rc" in version else ["latest"]
        minor = [version.rpartition(".")[0]] if version in {"2.0.1", "2.1.2"} else []
        registry.push("team/api", built, [version, *minor, *moving], days_ago=86 - number * step)
        if version == "2.1.2":
            signature = cosign_signature(built, "registry.example.com/team/api")
            tag = built.digest.replace(":", "-") + ".sig"
            registry.push("team/api", signature, [tag], days_ago=86 - number * step)
    for day, commit in ((15, "4c1f9d2"), (8, "b70e5a8"), (2, "e93d016")):
        nightly = _api_image(alpine, f"main-{commit}", f"2026-08-{30 - day:02}T02:00:00Z")
        registry.push("team/api", nightly, ["main"], days_ago=day)


def _push_worker(registry: RegistryBuilder, alpine: list[Step]) -> None:
    """Push an image with an SBOM and a signature that name it by `subject`.

    The SBOM is listed under the tag that clients keep where a registry has no referrers API; the signature is not.
    """
    binary = layer({"app/bin/worker": program("worker 1.4.0", 1640 * KIB), "app/etc/worker.toml": "queues = 4\n"})
    worker = image(
        [
            *alpine,
            ("COPY /out/worker /app/bin/worker # buildkit", binary),
            ('ENTRYPOINT ["/app/bin/worker"]', None),
        ],
        created="2026-08-03T11:05:41Z",
        config=_settings(
            [], _labels("team/api/worker", "1.4.0", "Sends what the API queued"), Entrypoint=["/app/bin/worker"]
        ),
    )
    registry.push("team/api/worker", worker, ["1.4.0", "latest"], days_ago=19)
    packages = [{"SPDXID": f"SPDXRef-{name}", "name": name, "versionInfo": "3.20"} for name in ("busybox", "musl")]
    sbom = artifact(
        "application/spdx+json",
        [Blob("application/spdx+json", to_json({"spdxVersion": "SPDX-2.3", "name": "worker", "packages": packages}))],
        subject=worker,
        annotations={"org.opencontainers.image.created": "2026-08-03T11:06:02Z"},
    )
    bundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
    signature = artifact(
        bundle,
        [Blob(bundle, to_json({"mediaType": bundle, "messageSignature": {"signature": noise("bundle", 72).hex()}}))],
        subject=worker,
        annotations={"org.opencontainers.image.created": "2026-08-03T11:06:20Z"},
    )
    registry.push("team/api/worker", signature, days_ago=19)
    listed = {
        "artifactType": "application/spdx+json",
        "annotations": {"org.opencontainers.image.created": "2026-08-03T11:06:02Z"},
    }
    registry.push("team/api/worker", index([(sbom, listed)]), [worker.digest.replace(":", "-")], days_ago=19)


def _push_web(registry: RegistryBuilder) -> None:
    """Push a multi-platform index with buildkit's attestations, twice."""
    assets = layer(
        {
            "srv/index.html": "<!doctype html><title>Shop</title><main id=shop></main><script src=app.js></script>\n",
            "srv/app.js": noise("app.js", 420 * KIB).hex()[: 640 * KIB],
            "srv/style.css": ":root { color-scheme: light dark }\n",
        }
    )
    for version, days_ago in (("3.1.0", 47), ("3.2.0", 6)):
        children: list[tuple[Manifest, Mapping[str, Any]]] = []
        for architecture in ("amd64", "arm64"):
            server = layer({"usr/bin/serve": program(f"serve {version} {architecture}", 910 * KIB)})
            built = image(
                [("COPY /out/serve /usr/bin/serve # buildkit", server), ("COPY dist /srv # buildkit", assets)],
                created="2026-08-19T16:20:00Z",
                config=_settings(["/usr/bin/serve", "/srv"], _labels("team/web", version, "The shop's pages")),
                platform=f"linux/{architecture}",
            )
            children.append((built, {"platform": {"architecture": architecture, "os": "linux"}}))
        statements: dict[str, dict[str, Any]] = {
            "https://slsa.dev/provenance/v0.2": {
                "buildType": "https://mobyproject.org/buildkit@v1",
                "builder": {"id": "https://ci.example.com/runs/4711"},
            },
            "https://spdx.dev/Document": {"spdxVersion": "SPDX-2.3", "name": f"team/web {version}", "packages": []},
        }
        proofs = [attestation(child, statements) for child, _ in children]
        registry.push("team/web", index([*children, *proofs]), [version, "latest"], days_ago=days_ago)


def _push_charts(registry: RegistryBuilder) -> None:
    """Push two versions of a Helm chart."""
    files = {
        "values.yaml": "replicas: 2\nimage:\n  repository: registry.example.com/team/web\n  tag: 3.2.0\n",
        "templates/deployment.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ .Release.Name }}\n",
        "templates/NOTES.txt": "The shop is up.\n",
    }
    for version, days_ago in (("0.9.0", 46), ("0.10.0", 5)):
        packed = chart("web", version, "2026-08-20T09:00:00Z", files, "The shop, on Kubernetes")
        registry.push("charts/web", packed, [version], days_ago=days_ago)


def _push_tools(registry: RegistryBuilder) -> None:
    """Push what has no common base with the rest: an image of schema 2, an OCI image of one file, and plain files."""
    backup = layer({"usr/local/bin/backup.sh": "#!/bin/bash\nset -euo pipefail\nexec pg_dump --format=custom\n"})
    client = layer({"usr/bin/pg_dump": program("pg_dump", 560 * KIB)})
    steps = [
        *_debian_steps(),
        ("RUN /bin/sh -c apt-get install -y postgresql-client # buildkit", client),
        ("COPY backup.sh /usr/local/bin/backup.sh # buildkit", backup),
        ('CMD ["backup.sh"]', None),
    ]
    labels = _labels("tools/backup", "2024.1", "Nightly database dumps")
    built = image(steps, docker=True, created="2026-04-02T03:00:00Z", config=_settings(["backup.sh"], labels))
    registry.push("tools/backup", built, ["2024.1", "stable"], days_ago=71)
    labels = _labels("sandbox/hello", "1", "The smallest image that does something")
    hello: list[Step] = [
        ("COPY hello / # buildkit", layer({"hello": program("hello", 13 * KIB)})),
        ('CMD ["/hello"]', None),
    ]
    small = image(hello, created="2026-03-14T15:09:26Z", config=_settings(["/hello"], labels))
    registry.push("sandbox/hello", small, ["1", "latest"], days_ago=33)
    model = artifact(
        "application/vnd.example.model.v1",
        [
            Blob(
                "application/octet-stream",
                noise("model weights", 2900 * KIB),
                {"org.opencontainers.image.title": "weights.bin"},
            ),
            Blob("application/json", to_json({"layers": 4, "licence": "Apache-2.0"})),
        ],
        annotations={"org.opencontainers.image.created": "2026-07-01T12:00:00Z"},
    )
    registry.push("ml/recommender", model, ["2026-07"], days_ago=40)
