"""The registries with their last scan and last check, what is wrong with them, and the sums over all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, F, Max, Sum
from django.utils import timezone

from dashboard.models import Job, Registry, Role, Scan, UploadSession
from dashboard.selectors.shell import ShellRegistry

STALE_AFTER = timedelta(hours=24)
STALE_UPLOAD = timedelta(hours=168)
FIELDS = ["slug", "name", "bucket", "region", "region_endpoint", "root_directory", "is_demo", "public_host", "version"]
NEVER_SCANNED = "This registry was never scanned, so nothing of it can be shown yet."
PROBLEM_TEXT = "{number} {things} could not be read in the last scan."


@dataclass
class RegistryCard:
    """A registry with what is known of it; `scan` and the jobs are None before the first of each."""

    registry: Registry
    role: int
    scan: Scan | None = None
    scan_job: Job | None = None
    check_job: Job | None = None
    stale_uploads: int = 0
    stale_upload_bytes: int = 0

    @property
    def is_stale(self) -> bool:
        """Whether its figures are older than a day."""
        return self.scan is not None and timezone.now() - self.scan.finished > STALE_AFTER

    @property
    def check_state(self) -> str:
        """The last check in one word for a pill; empty before the first."""
        job = self.check_job
        if job is None:
            return ""
        if job.state != Job.State.SUCCEEDED:
            return job.state
        return "ok" if job.result.get("ok") else "failed"

    @property
    def reclaimable(self) -> int:
        """Bytes that nothing tagged needs."""
        ledger = self.scan.ledger if self.scan else {}
        return sum(ledger.get(name, 0) for name in ("untagged", "unreferenced"))


@dataclass(frozen=True)
class Alert:
    """Something that wants attention. `action` is the URL name of a button's page; `post` when it starts a job."""

    tone: str
    registry: Registry
    text: str
    action: str
    button: str
    post: bool = False
    job: Job | None = None


def registry_cards(user: Any, roles: Iterable[ShellRegistry]) -> list[RegistryCard]:
    """Return a card for each of the registries of the switcher, in its order, in five queries for any number."""
    by_slug = {row.slug: row.role for row in roles}
    rows = Registry.objects.visible_to(user).filter(slug__in=by_slug).only(*FIELDS).order_by("name", "pk")
    cards = {registry.pk: RegistryCard(registry, by_slug[registry.slug]) for registry in rows}
    fill_cards(cards)
    return list(cards.values())


def registry_card(registry: Registry, role: int) -> RegistryCard:
    """Return the card of one registry."""
    cards = {registry.pk: RegistryCard(registry, role)}
    fill_cards(cards)
    return cards[registry.pk]


def fill_cards(cards: dict[int, RegistryCard]) -> None:
    """Look up scans, jobs and stale uploads of the cards' registries."""
    for scan in Scan.objects.filter(registry__in=cards, generation=F("registry__generation")):
        cards[scan.registry_id].scan = scan
    newest = (
        Job.objects.filter(registry__in=cards, kind__in=("scan", "check"))
        .order_by()
        .values("registry", "kind")
        .annotate(newest=Max("pk"))
        .values("newest")
    )
    for job in Job.objects.filter(pk__in=newest):
        if job.kind == "scan":
            cards[job.registry_id].scan_job = job
        else:
            cards[job.registry_id].check_job = job
    stale = UploadSession.objects.filter(registry__in=cards, last_activity__lt=timezone.now() - STALE_UPLOAD)
    for pk, number, size in (
        stale.order_by()
        .values("registry")
        .annotate(number=Count("pk"), bytes=Sum("size"))
        .values_list("registry", "number", "bytes")
    ):
        cards[pk].stale_uploads, cards[pk].stale_upload_bytes = number, size


def alerts(cards: Iterable[RegistryCard]) -> list[Alert]:
    """Return what is wrong, the worst first."""
    found = [alert for card in cards for alert in _alerts(card)]
    return sorted(found, key=lambda alert: ("danger", "warn", "info").index(alert.tone))


def _alerts(card: RegistryCard) -> list[Alert]:
    registry, found = card.registry, []
    scan_runs = card.scan_job is not None and card.scan_job.is_active
    if card.check_state == "failed":
        found.append(
            Alert(
                "danger",
                registry,
                "The last connection test failed.",
                "registry_detail",
                "See the checks",
                job=card.check_job,
            )
        )
    if card.scan_job is not None and card.scan_job.state == Job.State.FAILED:
        text = f"The last scan failed. {card.scan_job.error}".strip()
        found.append(Alert("danger", registry, text, "job_detail", "See the job", job=card.scan_job))
    elif not scan_runs and (card.scan is None or card.is_stale):
        text = "The last scan is more than a day old." if card.scan else NEVER_SCANNED
        if card.role >= Role.OPERATOR:
            found.append(Alert("warn", registry, text, "scan_start", "Scan now", post=True))
        else:
            found.append(Alert("warn", registry, text, "registry_detail", "See the registry"))
    if card.scan and (number := len(card.scan.problems)):
        text = PROBLEM_TEXT.format(number=number, things="thing" if number == 1 else "things")
        found.append(Alert("warn", registry, text, "registry_detail", "See them"))
    if card.stale_uploads:
        text = f"{card.stale_uploads} upload{'s have' if card.stale_uploads > 1 else ' has'} been left unfinished for a week or longer."
        found.append(Alert("info", registry, text, "upload_list", "See uploads"))
    return found


@dataclass(frozen=True)
class Totals:
    """Sums over the scanned registries."""

    bytes: int
    reachable: int
    reclaimable: int
    repositories: int
    tags: int
    scanned: int


def totals(cards: Iterable[RegistryCard]) -> Totals:
    """Add the last scans up."""
    scanned = [card for card in cards if card.scan]
    scans = [card.scan for card in scanned if card.scan]
    return Totals(
        bytes=sum(scan.bytes for scan in scans),
        reachable=sum(scan.ledger.get("reachable", 0) for scan in scans),
        reclaimable=sum(card.reclaimable for card in scanned),
        repositories=sum(scan.repositories for scan in scans),
        tags=sum(scan.tags for scan in scans),
        scanned=len(scans),
    )
