"""Pictures of every page: `python -m tests.e2e.screenshots [part of a name ...]` writes them to test-results/screenshots.
With `--docs` it renews the pictures of the documentation in docs/pictures instead.

A throw-away database is filled with rows of every sort, the pages are served from this process, and Chromium takes each
in light and dark, 1400 and 400 pixels wide. Console errors and violations of the content security policy are printed and
make the exit status 1.
"""

# ruff: noqa: E402 - Django reads its settings before models can be imported
from __future__ import annotations

import os
import shutil
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

DATA_DIR = tempfile.mkdtemp(prefix="wharfinger-screenshots-")
os.environ |= {"DATA_DIR": DATA_DIR, "DJANGO_SETTINGS_MODULE": "project.settings", "DJANGO_ALLOW_ASYNC_UNSAFE": "1"}

import django

django.setup()

from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.utils import timezone
from playwright.sync_api import Browser, sync_playwright

from dashboard.models import Job, Manifest, Reference, Registry, Role, Tag
from dashboard.services.accounts import sign_in_link
from tests.dashboard import factories as make

if TYPE_CHECKING:
    from django.contrib.auth.models import User

OUTPUT = Path(os.environ.get("SCREENSHOTS", "test-results/screenshots"))
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
WIDTHS = (1400, 400)
SCHEMES = ("light", "dark")
DOCS = Path("docs/pictures")
DOCS_PAGES = {
    "overview": "overview",
    "registry": "registry",
    "tags": "tags",
    "manifest": "manifest-layers",
    "job": "job-running",
}
HOSTILE = '<script>alert("x")</script>'


def fill() -> tuple[User, dict[str, str]]:
    """Make rows of every sort; return the user who looks at them, and the addresses to visit by name."""
    now = timezone.now()
    root = make.make_superuser("harbour-master")
    demo = make.make_registry("demo", name="Demo registry", is_demo=True, public_host="localhost:5000")
    own = make.make_registry("production", name="Production", public_host="registry.example.org", root_directory="v2")
    new = make.make_registry("staging", name="Staging")
    make.make_member(own, Role.VIEWER, "viewer")
    big = make.make_repository(own, "team/api", tag_count=240, revision_count=261, size=9 * 2**30, updated=now)
    index, image = make_images(own, big, now)
    for number in range(240):
        if number % 2 == 0:
            manifest = make.make_manifest(own, f"api {number}", total_size=(40 + number) * 2**20)
        make.make_tag(big, f"1.{number}", manifest, updated=now - timedelta(hours=7 * (240 - number)))
    broken = make.make_tag(big, "broken", image, digest="", error="The link is empty: its write was interrupted.")
    Tag.objects.filter(pk=broken.pk).update(manifest=None)
    for name, tags, size in (
        ("team/api/worker", 12, 3 * 2**28),
        ("team/web", 31, 2**30),
        ("library/alpine", 18, 2**26),
        ("library/debian", 9, 2**28),
        ("charts/web", 4, 2**14),
        ("tools", 2, 2**22),
    ):
        make.make_repository(
            own, name, tag_count=tags, revision_count=tags + 2, size=size, updated=now - timedelta(days=tags)
        )
    for number in range(3):
        make.make_revision(big, make.make_manifest(own, f"left {number}"), linked=now - timedelta(days=40 + number))
    for registry in (demo, own):
        make.make_scan(
            registry,
            started=now - timedelta(minutes=9),
            finished=now - timedelta(minutes=6),
            keys=48213,
            bytes=int(13.2 * 2**30),
            repositories=7,
            tags=316,
            manifests=361,
            blobs=2210,
            ledger={
                "reachable": int(9.1 * 2**30), "untagged": int(2.2 * 2**30), "unreferenced": int(1.1 * 2**30),
                "links": 2**22, "uploads": int(0.3 * 2**30), "multipart": int(0.5 * 2**30), "unknown": 2**12,
            },
            problems=["/docker/registry/v2/repositories/team/api/_manifests/tags/broken/current/link is empty."]
            if registry == own
            else [],
        )  # fmt: skip
    for days in (3, 9, 12, 40):
        make.make_upload(own, last_activity=now - timedelta(days=days), size=days * 2**24, parts=days)
    jobs = make_jobs(own, new, now, root)
    place = f"/r/production/manifests/{{}}/{big.name}"
    pages = {
        "overview": "/",
        "registries": "/registries/",
        "registry": "/r/production/",
        "registry-demo": "/r/demo/",
        "registry-new": "/r/staging/",
        "repositories": "/r/production/repositories/",
        "repositories-folder": "/r/production/repositories/?namespace=team",
        "repositories-search": "/r/production/repositories/?q=api",
        "repositories-nothing": "/r/production/repositories/?q=zzz",
        "repositories-unscanned": "/r/staging/repositories/",
        "tags": "/r/production/tags/team/api?sort=-updated",
        "tags-filter": "/r/production/tags/team/api?q=bro",
        "untagged": "/r/production/tags/team/api?tab=untagged",
        "referrers": "/r/production/tags/team/api?tab=referrers",
        "index": place.format(index.digest) + "?tag=latest",
        "manifest-layers": place.format(image.digest),
        "uploads": "/r/production/uploads/",
        "uploads-none": "/r/staging/uploads/",
        "import": "/r/production/import/",
        "jobs": "/jobs/",
        "password": "/account/password/",
        "not-found": "/r/nowhere/",
        **{f"manifest-{tab}": place.format(image.digest) + f"?tab={tab}" for tab in ("config", "history", "referrers", "raw")},
        **{f"job-{name}": f"/jobs/{job.pk}/" for name, job in jobs.items()},
    }  # fmt: skip
    return root, pages


def make_images(registry: Registry, repository: Any, now: Any) -> tuple[Manifest, Manifest]:
    """Make a multi-platform index with an attestation, and an image with all there is to show."""
    config = {
        "os": "linux", "architecture": "amd64", "user": "10001", "working_dir": "/srv",
        "entrypoint": ["/usr/bin/tini", "--"], "cmd": ["gunicorn", "api.wsgi", HOSTILE],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "PYTHONUNBUFFERED=1", f"NOTE={HOSTILE}"],
        "exposed_ports": ["8000/tcp"], "volumes": ["/srv/data"], "stop_signal": "SIGTERM",
        "labels": {
            "org.opencontainers.image.title": "api", "org.opencontainers.image.source": "https://git.example.org/team/api",
            "org.opencontainers.image.revision": "5f2c9e0d", "evil": "javascript:alert(1)", "markup": HOSTILE,
        },
        "history": [
            {"created_by": "/bin/sh -c #(nop) ADD file:3b1f in / "},
            {"created_by": '/bin/sh -c #(nop)  CMD ["bash"]', "empty_layer": True},
            {"created_by": "ENV PYTHONUNBUFFERED=1", "empty_layer": True, "comment": "buildkit.dockerfile.v0"},
            {"created_by": "RUN /bin/sh -c apt-get update && apt-get install -y --no-install-recommends python3 tini && rm -rf /var/lib/apt/lists/* # buildkit", "comment": "buildkit.dockerfile.v0"},
            {"created_by": "COPY dist /srv # buildkit", "comment": "buildkit.dockerfile.v0"},
            {"created_by": 'ENTRYPOINT ["/usr/bin/tini" "--"]', "empty_layer": True},
        ],
    }  # fmt: skip
    image = make.make_manifest(
        registry, "the image", config=config, total_size=93 * 2**20, created=now - timedelta(days=3),
        annotations={"org.opencontainers.image.url": "https://example.org/api", "note": HOSTILE},
    )  # fmt: skip
    for position, size in enumerate((29 * 2**20, 58 * 2**20, 6 * 2**20)):
        digest = make.digest_of(f"layer {position}")
        if position != 2:
            make.make_blob(registry, digest, size)
        make.make_reference(
            image, Reference.Kind.LAYER, digest, position, size=size,
            media_type="application/vnd.oci.image.layer.v1.tar+gzip",
        )  # fmt: skip
    index = make.make_manifest(
        registry, "the index", kind="index", label="index", media_type=make.OCI_INDEX, os="", architecture="",
        total_size=181 * 2**20,
    )  # fmt: skip
    arm = make.make_manifest(registry, "the arm image", architecture="arm64", variant="v8", total_size=88 * 2**20)
    note = make.make_manifest(registry, "the attestation", label="attestation", os="", architecture="", total_size=9000)
    for position, (child, platform) in enumerate(
        ((image, "linux/amd64"), (arm, "linux/arm64/v8"), (note, "unknown/unknown"))
    ):
        annotations = (
            {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.digest}
            if child == note
            else {}
        )
        make.make_reference(
            index, Reference.Kind.CHILD, child.digest, position, size=child.size, platform=platform, annotations=annotations
        )  # fmt: skip
        make.make_revision(repository, child)
    signature = make.make_manifest(
        registry, "the signature", label="signature", subject_digest=image.digest, os="", architecture="", total_size=700,
        artifact_type="application/vnd.dev.cosign.artifact.sig.v1+json",
    )  # fmt: skip
    make.make_revision(repository, signature)
    make.make_tag(repository, "latest", index, updated=now)
    make.make_tag(repository, "2.0-rc1", image, updated=now - timedelta(days=3))
    return index, image


def make_jobs(own: Registry, new: Registry, now: Any, user: User) -> dict[str, Job]:
    """Make a job in every state, and one of every kind with its result."""
    state = Job.State
    ended = {"started": now - timedelta(minutes=9), "finished": now - timedelta(minutes=6), "requested_by": user}
    running = make.make_job(
        own, "scan", state=state.RUNNING, phase=1, started=now - timedelta(minutes=2), requested_by=user
    )
    Job.objects.filter(pk=running.pk).update(touched=now - timedelta(seconds=80))
    make.make_shard(
        running, 0, 0, state="succeeded", done=48213, requests={"ListObjectsV2": 49}, worker="worker@host-1"
    )
    for index in range(4):
        make.make_shard(
            running, 1, index, state="succeeded" if index < 2 else "running", done=500 if index < 2 else 130, total=500,
            bytes_done=2**20, bytes_total=None, requests={"GetObject": 480}, worker="worker@host-1", label="500 manifests",
        )  # fmt: skip
    make.make_event(running, "Listed 48,213 objects in 7 repositories.")
    make.make_event(running, f"Manifest {make.digest_of('x')}: The manifest is larger than 4 MiB.", "warning")
    scan = make.make_job(own, "scan", state=state.SUCCEEDED, phase=3, **ended)
    scan.result = {
        "keys": 48213,
        "bytes": 13 * 2**30,
        "repositories": 7,
        "tags": 316,
        "manifests": 361,
        "blobs": 2210,
        "problems": 1,
    }
    scan.save(update_fields=["result"])
    failed = make.make_job(
        new, "scan", state=state.FAILED, phase=0, **ended,
        error="Bucket staging-images does not exist at http://127.0.0.1:9. Check the bucket's name and the region.",
    )  # fmt: skip
    make.make_shard(failed, 0, 0, state="failed", attempts=4, label="All objects", error="NoSuchBucket")
    make.make_event(failed, "Attempt 4 failed: NoSuchBucket", "error")
    checks = [
        {"check": "endpoint", "title": "Endpoint answers", "outcome": "ok", "detail": "127.0.0.1 port 9, plain http.", "advice": "", "milliseconds": 3},
        {"check": "credentials", "title": "Credentials are accepted", "outcome": "failed", "detail": "S3 answered 403 SignatureDoesNotMatch (request 4442).", "advice": "Enter the secret key again: it does not belong to this access key.", "milliseconds": 41},
        {"check": "bucket", "title": "Bucket exists", "outcome": "warning", "detail": "It exists, in eu-west-1.", "advice": "Set Region to eu-west-1.", "milliseconds": 12},
        {"check": "write", "title": "Write, read, delete", "outcome": "skipped", "detail": "Not tried: the credentials were refused.", "advice": "", "milliseconds": None},
    ]  # fmt: skip
    check = make.make_job(new, "check", state=state.SUCCEEDED, phase=1, result={"ok": False, "checks": checks}, **ended)
    good = [{**row, "outcome": "ok", "advice": ""} for row in checks]
    make.make_job(own, "check", state=state.SUCCEEDED, phase=1, result={"ok": True, "checks": good}, **ended)
    image = {"reference": "team/api:2.0-rc1", "digest": make.digest_of("the image")}
    imported = make.make_job(
        own, "import", subject="api.tar → team/api:2.0-rc1", state=state.SUCCEEDED, phase=1, **ended,
        parameters={"archive": "00000000-0000-4000-8000-000000000000", "reference": image["reference"]},
        result={"images": [image], "blobs_sent": 3, "blobs_skipped": 1, "bytes_sent": 64 * 2**20, **image},
    )  # fmt: skip
    aborted = make.make_job(
        own, "abort_uploads", subject="3 uploads", state=state.SUCCEEDED, phase=1, parameters={"sessions": [1, 2, 3]}, **ended,
        result={"aborted": 2, "already_gone": 0, "active_again": 1, "bytes": 2**28},
    )  # fmt: skip
    cancelled = make.make_job(own, "import", subject="web.tar → team/web:9", state=state.CANCELLED, phase=0, **ended)
    waiting = make.make_job(new, "import", subject="tools.tar → tools:1", requested_by=user)
    return {
        "running": running, "scan": scan, "failed": failed, "check": check, "import": imported, "abort": aborted,
        "cancelled": cancelled, "waiting": waiting,
    }  # fmt: skip


class QuietHandler(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def take(browser: Browser, address: str, user: User, pages: dict[str, str], wanted: list[str]) -> list[str]:
    """Take the pictures whose name holds one of the words, all without words; return what the browser complained about."""
    complaints: list[str] = []
    for scheme in SCHEMES:
        for width in WIDTHS:
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})  # type: ignore[arg-type]
            page = context.new_page()
            place = [""]
            page.on("console", lambda message, at=place: complaints.append(f"{at[0]}: {message.text}") if message.type in ("error", "warning") and "404" not in message.text else None)  # fmt: skip
            page.on("pageerror", lambda error, at=place: complaints.append(f"{at[0]}: {error}"))
            user.refresh_from_db()  # a link works once: each context signs in with one of its own
            for name, path in {"sign-in": "/sign-in/", "sign-in-link": sign_in_link(user), "": "", **pages}.items():
                place[0] = f"{name} {scheme} {width}"
                if not name:  # between the pages for strangers and the others
                    page.get_by_role("button", name="Sign in as").click()
                    page.wait_for_url(f"{address}/")
                    continue
                if wanted and name not in ("sign-in", "sign-in-link") and not any(word in name for word in wanted):
                    continue
                page.goto(address + path)
                page.screenshot(path=OUTPUT / f"{name}-{scheme}-{width}.png", full_page=True)
                wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                if wider > 0:
                    complaints.append(f"{place[0]}: {wider} pixels wider than the window")
            context.close()
    return complaints


def take_docs(browser: Browser, address: str, user: User, pages: dict[str, str]) -> None:
    """Take the few pictures that the documentation shows, one window each."""
    page = browser.new_page(color_scheme="light", viewport={"width": 1200, "height": 760})
    page.goto(address + sign_in_link(user))
    page.get_by_role("button", name="Sign in as").click()
    page.wait_for_url(f"{address}/")
    DOCS.mkdir(parents=True, exist_ok=True)
    for name, source in DOCS_PAGES.items():
        page.goto(address + pages[source])
        page.screenshot(path=DOCS / f"{name}.png")


def main() -> int:
    """Fill, serve, take."""
    call_command("collectstatic", verbosity=0, interactive=False)
    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)
    user, pages = fill()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    server = ThreadedWSGIServer(("127.0.0.1", 0), QuietHandler)
    server.daemon_threads = True
    server.set_app(get_wsgi_application())
    Thread(target=server.serve_forever, daemon=True).start()
    complaints: list[str] = []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            address = f"http://127.0.0.1:{server.server_port}"
            if "--docs" in sys.argv:
                user.refresh_from_db()
                take_docs(browser, address, user, pages)
            else:
                complaints = take(browser, address, user, pages, sys.argv[1:])
            browser.close()
    finally:
        server.shutdown()
        shutil.rmtree(DATA_DIR, ignore_errors=True)
    print("\n".join(dict.fromkeys(complaints)), file=sys.stderr)  # noqa: T201
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
