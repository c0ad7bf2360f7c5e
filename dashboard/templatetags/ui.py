"""The small components of the pages: icons, pills, digests, sizes, times. Every value is escaped text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django import template
from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from dashboard.jobs import KINDS
from dashboard.models import Job
from dashboard.selectors.jobs import run_time

register = template.Library()

BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
SHOWN_HEX = 12  # digits of a digest that a chip shows
NOTHING = "—"
STATES: Mapping[str, tuple[str, str, str]] = {
    # state -> tone, icon, word
    Job.State.PENDING: ("", "waiting", "Waiting"),
    Job.State.RUNNING: ("info", "running", "Running"),
    Job.State.SUCCEEDED: ("ok", "ok", "Done"),
    Job.State.FAILED: ("danger", "danger", "Failed"),
    Job.State.CANCELLED: ("", "cancelled", "Cancelled"),
    "stopping": ("warn", "waiting", "Stopping"),
    "ok": ("ok", "ok", "Works"),
    "warning": ("warn", "warning", "Warning"),
    "skipped": ("", "skipped", "Skipped"),
    "missing": ("danger", "danger", "Missing"),
    "unreadable": ("danger", "danger", "Unreadable"),
    "unread": ("", "waiting", "Not read yet"),
    "demo": ("warn", "info", "Demo"),
    "stale": ("warn", "waiting", "Stale"),
}
KIND_ICONS = {
    "image": "layers",
    "index": "index",
    "Helm chart": "chart",
    "signature": "signature",
    "attestation": "signature",
    "SBOM": "document",
}


@register.simple_tag
def icon(name: str, label: str = "", css: str = "") -> SafeString:
    """Return an icon of the sprite; without `label` it is decoration and hidden from screen readers."""
    address = staticfiles_storage.url("dashboard/icons.svg")
    if label:
        text = '<svg class="icon {}" role="img" aria-label="{}"><use href="{}#{}"/></svg>'
        return format_html(text, css, label, address, name)
    return format_html('<svg class="icon {}" aria-hidden="true"><use href="{}#{}"/></svg>', css, address, name)


@register.simple_tag
def pill(state: str, word: str = "") -> SafeString:
    """Return the status pill of a state, as icon, word and colour; `word` says it in another way."""
    tone, name, usual = STATES.get(state, ("", "info", state))
    return format_html('<span class="pill {}">{}{}</span>', tone, icon(name), word or usual)


@register.simple_tag
def digest(value: str, full: bool = False, href: str = "") -> SafeString:
    """Return a digest as a chip: its first digits (all if `full`), a link if `href`, and a button that copies all of it."""
    algorithm, _, hexadecimal = value.partition(":")
    short = value if full else f"{algorithm}:{hexadecimal[:SHOWN_HEX]}"
    code = format_html('<code title="{}">{}</code>', value, short)
    return format_html(
        '<span class="digest {}">{}{}</span>',
        "full" if full else "",
        format_html('<a href="{}">{}</a>', href, code) if href else code,
        copy_button(value, f"Copy {short}"),
    )


@register.simple_tag
def copy_button(text: str, label: str = "Copy") -> SafeString:
    """Return a button that copies `text`; it shows only where scripts run."""
    return format_html(
        '<button type="button" class="icon-button needs-js" data-copy="{}" aria-label="{}" title="{}">{}{}</button>',
        text,
        label,
        label,
        icon("copy"),
        icon("check", css="done"),
    )


@register.filter
def kind_icon(label: str) -> str:
    """Return the icon of what a manifest is."""
    return KIND_ICONS.get(label, "artifact")


def readable_size(number: int) -> str:
    """Return a size in binary units with at most one decimal: 512 B, 1.5 MiB."""
    size, unit = float(number), 0
    while size >= 1023.95 and unit < len(BINARY_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{number:,} B" if unit == 0 else f"{size:,.1f} {BINARY_UNITS[unit]}"


@register.filter(name="bytes")
def bytes_(number: int | None) -> SafeString | str:
    """Return a size in binary units, exact in its title; a dash for None and for what a template does not find."""
    if not isinstance(number, int):
        return NOTHING
    return format_html('<span class="bytes" title="{} bytes">{}</span>', f"{number:,}", readable_size(number))


@register.filter
def count(number: int | None) -> str:
    """Return a number with separators; a dash for None and for what a template does not find."""
    return f"{number:,}" if isinstance(number, int) else NOTHING


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """Return how long ago a moment was, absolute in its title; a dash for None."""
    if moment is None:
        return NOTHING
    absolute = f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S} {settings.TIME_ZONE}"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', moment.isoformat(), absolute, elapsed(timezone.now() - moment)
    )


@register.filter
def clock(moment: datetime) -> SafeString:
    """Return the time of day of a log line, with its date in the title."""
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', moment.isoformat(), f"{local:%Y-%m-%d}", f"{local:%H:%M:%S}"
    )


@register.filter
def day(moment: datetime | None) -> SafeString | str:
    """Return a date, with its time in the title; a dash for None."""
    if moment is None:
        return NOTHING
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        f"{local:%Y-%m-%d %H:%M:%S} {settings.TIME_ZONE}",
        f"{local:%Y-%m-%d}",
    )


def elapsed(span: timedelta) -> str:
    """Return a span in words, seen from its end: "just now", "5 minutes ago", "3 months ago", "in 2 days"."""
    seconds = int(span.total_seconds())
    if abs(seconds) < 45:
        return "just now"
    for limit, length, unit in (
        (45 * 60, 60, "minute"),
        (22 * 3600, 3600, "hour"),
        (45 * 86400, 86400, "day"),
        (320 * 86400, 30.44 * 86400, "month"),
        (float("inf"), 365.25 * 86400, "year"),
    ):
        if abs(seconds) < limit:
            number = max(1, round(abs(seconds) / length))
            words = f"{number} {unit}{'s' if number > 1 else ''}"
            return f"{words} ago" if seconds > 0 else f"in {words}"
    raise AssertionError("the last limit is infinite")


@register.filter
def duration(span: timedelta | None) -> str:
    """Return a span as a person says it: 0.4 s, 48 s, 2 min 5 s, 3 h 10 min; a dash for None."""
    if span is None:
        return NOTHING
    seconds = span.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


@register.filter
def is_older_than_hours(moment: datetime, hours: int) -> bool:
    """Say whether a moment lies more than `hours` back."""
    return datetime.now(UTC) - moment > timedelta(hours=hours)


@register.inclusion_tag("dashboard/_sort_header.html", takes_context=True)
def sort_header(context: Any, key: str, title: str, sort: str, css: str = "", first: str = "") -> dict[str, Any]:
    """Render a column head that sorts by `key`. `sort` is the present order, "-key" when descending.

    `first` is "-" where the first click should sort descending (dates, sizes).
    """
    present = sort.lstrip("-") == key
    descending = sort.startswith("-")
    other = key if descending else f"-{key}"
    return {
        "request": context["request"],
        "title": title,
        "css": css,
        "aria": ("descending" if descending else "ascending") if present else "none",
        "to": other if present else f"{first}{key}",
        "icon": ("down" if descending else "up") if present else "sort",
    }


@register.inclusion_tag("dashboard/_progress.html")
def progress(done: int, total: int | None, label: str, tone: str = "") -> dict[str, Any]:
    """Render a bar with its name; an unknown total has no percentage and no made-up one."""
    known = bool(total)
    return {"done": done, "total": total, "known": known, "label": label, "tone": tone}


@register.simple_tag
def size_bar(size: int, largest: int) -> SafeString:
    """Return a bar as long as the size's share of the largest; decoration beside the number."""
    width = f"{100 * size / largest:.2f}" if largest else "0"
    return format_html(
        '<svg class="size-bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect width="{}" height="8"/></svg>',
        width,
    )


@register.filter
def lookup(mapping: Mapping[str, Any], key: str) -> Any:
    """Return a mapping's value for a key that is a variable, None without."""
    return mapping.get(key)


@register.filter
def tone(level: str) -> str:
    """Return the tone of a message's level."""
    return {"success": "ok", "warning": "warn", "error": "danger"}.get(level, "info")


@register.filter
def tone_icon(level: str) -> str:
    """Return the icon of a message's level."""
    return {"success": "ok", "warning": "warning", "error": "danger"}.get(level, "info")


@register.filter
def job_title(job: Job) -> str:
    """Return what a job is, in words; one of a kind that is no longer known has its bare name."""
    kind = KINDS.get(job.kind)
    return kind.title if kind else job.kind


@register.filter
def job_state(job: Job) -> str:
    """Return the state for a pill: an active job that was asked to stop is stopping."""
    return "stopping" if job.is_active and job.cancel_requested else job.state


@register.filter
def job_duration(job: Job) -> timedelta | None:
    """Return how long a job ran, up to now while it runs."""
    return run_time(job)


@register.filter
def is_web_link(text: str) -> bool:
    """Say whether a text out of an image may become a link: only http and https, and nothing that needs guessing."""
    return text.startswith(("http://", "https://")) and not any(character.isspace() for character in text)


@register.simple_tag
def querystring_of(**values: Any) -> str:
    """Return a query string of exactly these values, without the question mark; Django's `querystring` keeps others."""
    return urlencode({name: value for name, value in values.items() if value not in (None, "")})


@register.filter
def last_part(name: str) -> str:
    """Return a repository's name without its namespaces."""
    return name.rpartition("/")[2]


@register.filter
def reference_repository(reference: str) -> str:
    """Return the repository of repository:tag."""
    return reference.rpartition(":")[0]


@register.filter
def reference_tag(reference: str) -> str:
    """Return the tag of repository:tag."""
    return reference.rpartition(":")[2]


@register.filter
def check_word(state: str) -> str:
    """Return the state of a connection test in words."""
    return {"ok": "Works", "failed": "Fails", "pending": "Waiting", "running": "Testing"}.get(state, "")


@register.filter
def rate(number: float) -> str:
    """Return bytes in binary units for a rate; without an exact title, for a rate has none."""
    return readable_size(int(number))


@register.filter
def shown_parameters(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a job's parameters for people: lists as their length, keys of rows not at all."""
    shown = []
    for name, value in parameters.items():
        if isinstance(value, list):
            shown.append((name.replace("_", " ").capitalize(), f"{len(value):,}"))
        elif value not in ("", None) and name != "archive":
            shown.append((name.replace("_", " ").capitalize(), str(value)))
    return shown
