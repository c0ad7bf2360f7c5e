"""The frame, the overview, a registry's page, the error pages, the small components."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dashboard.models import Job, Registry, Role
from dashboard.selectors import ledger, overview, shell
from dashboard.templatetags import ui
from dashboard.views import health
from tests.dashboard.factories import (
    make_job,
    make_member,
    make_registry,
    make_scan,
    make_superuser,
    make_upload,
    make_user,
)


def own_templates() -> list[Path]:
    return sorted(Path(settings.BASE_DIR, "templates").rglob("*.html"))


@pytest.fixture
def registry() -> Registry:
    return make_registry("alpha")


@pytest.fixture
def root(client: Client) -> User:
    user = make_superuser()
    client.force_login(user)
    return user


def text_of(client: Client, path: str) -> str:
    return client.get(path).content.decode()


@pytest.mark.django_db
class TestFrame:
    def test_it_costs_two_queries(self, registry: Registry) -> None:
        user = make_member(registry, Role.VIEWER)
        frame = shell.Shell(request_of(user))
        with CaptureQueriesContext(connection) as captured:
            assert frame.registry is not None
            assert frame.registries
            assert frame.active_jobs == 0
        assert len(captured) == 2

    def test_it_asks_nothing_for_strangers(self, django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(0):
            assert "Sign in" in text_of(Client(), "/sign-in/")

    def test_it_knows_the_role(self, registry: Registry) -> None:
        make_registry("beta")
        rows = shell.shell_registries(make_member(registry, Role.OPERATOR))
        assert [(row.slug, row.is_operated) for row in rows] == [("alpha", True)]

    def test_a_superuser_administers_everything(self, registry: Registry) -> None:
        (row,) = shell.shell_registries(make_superuser())
        assert row.role == Role.ADMINISTRATOR

    def test_a_registry_past_the_switchers_end_is_still_the_pages(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_registry("omega")
        monkeypatch.setattr(shell, "MAX_SWITCHER", 1)
        frame = shell.Shell(request_of(make_superuser()), "omega")
        assert frame.registry is not None
        assert frame.registry.slug == "omega"

    def test_it_counts_active_jobs(self, client: Client, root: User, registry: Registry) -> None:
        make_job(registry, "import")
        make_job(registry, "import", state=Job.State.FAILED)
        assert re.search(r"1 <span class=\"word\">active job</span>", text_of(client, "/jobs/"))

    def test_the_import_page_is_absent_for_viewers(self, client: Client, registry: Registry) -> None:
        client.force_login(make_member(registry, Role.VIEWER))
        assert "/r/alpha/import/" not in text_of(client, "/r/alpha/")

    def test_the_administration_is_absent_but_for_staff(self, client: Client, registry: Registry) -> None:
        client.force_login(make_member(registry, Role.ADMINISTRATOR))
        assert "/admin/" not in text_of(client, "/r/alpha/")

    def test_the_demo_says_that_it_is_one(self, client: Client, root: User) -> None:
        make_registry("demo", is_demo=True)
        assert "This is the demo registry" in text_of(client, "/r/demo/")

    def test_a_page_has_one_heading_and_its_landmarks(self, client: Client, root: User, registry: Registry) -> None:
        text = text_of(client, "/r/alpha/")
        assert len(re.findall("<h1", text)) == 1
        for landmark in ('<main id="main"', "<nav ", "<header ", 'class="skip" href="#main"'):
            assert landmark in text


def request_of(user: User) -> Any:
    from django.test import RequestFactory

    request = RequestFactory().get("/")
    request.user = user
    request.resolver_match = None
    return request


@pytest.mark.django_db
class TestOverview:
    def test_a_newcomer_is_led_to_the_first_registry(self, client: Client, root: User) -> None:
        text = text_of(client, "/")
        assert "Three steps" in text
        assert "/admin/dashboard/registry/add/" in text

    def test_without_permission_it_says_who_adds_registries(self, client: Client) -> None:
        client.force_login(make_user())
        assert "An administrator does this" in text_of(client, "/")

    def test_the_demo_does_not_end_the_first_steps(self, client: Client, root: User) -> None:
        make_scan(make_registry("demo", is_demo=True))
        assert "Three steps" in text_of(client, "/")

    def test_a_scan_of_ones_own_does(self, client: Client, root: User, registry: Registry) -> None:
        make_scan(registry)
        assert "Three steps" not in text_of(client, "/")

    def test_after_adding_one_the_next_steps_are_offered(self, client: Client, root: User, registry: Registry) -> None:
        text = text_of(client, "/")
        assert 'action="/r/alpha/check/"' in text
        assert 'action="/r/alpha/scan/"' in text

    def test_it_adds_the_last_scans_up(self, registry: Registry) -> None:
        make_scan(registry, bytes=5, tags=1, ledger={"reachable": 3, "untagged": 1, "unreferenced": 1})
        make_scan(registry, bytes=7, tags=2, ledger={"reachable": 4, "untagged": 2, "unreferenced": 1})
        make_scan(make_registry("beta"), bytes=100, tags=10, ledger={"reachable": 100})
        user = make_superuser()
        found = overview.totals(overview.registry_cards(user, shell.shell_registries(user)))
        assert (found.bytes, found.reachable, found.reclaimable, found.tags, found.scanned) == (107, 104, 3, 12, 2)

    def test_its_queries_do_not_grow_with_the_registries(self, client: Client, root: User) -> None:
        counts = []
        for number in range(2, 12, 3):
            make_scan(make_registry(f"registry-{number}"))
            make_job(make_registry(f"other-{number}"), state=Job.State.FAILED)
            with CaptureQueriesContext(connection) as captured:
                client.get("/")
            counts.append(len(captured))
        assert counts == [counts[0]] * 4
        assert counts[0] <= 12


@pytest.mark.django_db
class TestAlerts:
    def alerts(self) -> list[str]:
        user = make_superuser()
        cards = overview.registry_cards(user, shell.shell_registries(user))
        return [f"{alert.tone}: {alert.text}" for alert in overview.alerts(cards)]

    def test_all_is_well(self, registry: Registry) -> None:
        make_scan(registry, finished=timezone.now())
        make_job(registry, "check", state=Job.State.SUCCEEDED, result={"ok": True})
        assert self.alerts() == []

    def test_never_scanned(self, registry: Registry) -> None:
        assert self.alerts() == ["warn: This registry was never scanned, so nothing of it can be shown yet."]

    def test_only_who_may_scan_is_offered_it(self, client: Client, registry: Registry) -> None:
        client.force_login(make_member(registry, Role.VIEWER))
        text = text_of(client, "/")
        assert "never scanned" in text
        assert "/r/alpha/scan/" not in text

    def test_a_first_scan_that_runs_is_no_alert(self, registry: Registry) -> None:
        make_job(registry, "scan", state=Job.State.RUNNING)
        assert self.alerts() == []

    def test_stale(self, registry: Registry) -> None:
        make_scan(registry, finished=timezone.now() - timedelta(hours=25))
        assert self.alerts() == ["warn: The last scan is more than a day old."]

    def test_problems(self, registry: Registry) -> None:
        make_scan(registry, finished=timezone.now(), problems=["a", "b"])
        assert self.alerts() == ["warn: 2 things could not be read in the last scan."]

    def test_the_worst_is_first(self, registry: Registry) -> None:
        make_scan(registry, finished=timezone.now(), problems=["a"])
        make_upload(registry, last_activity=timezone.now() - timedelta(days=8))
        make_job(registry, "scan", state=Job.State.FAILED, error="No bucket.")
        make_job(registry, "check", state=Job.State.SUCCEEDED, result={"ok": False})
        assert self.alerts() == [
            "danger: The last connection test failed.",
            "danger: The last scan failed. No bucket.",
            "warn: 1 thing could not be read in the last scan.",
            "info: 1 upload has been left unfinished for a week or longer.",
        ]

    def test_only_the_latest_job_counts(self, registry: Registry) -> None:
        make_scan(registry, finished=timezone.now())
        make_job(registry, "scan", state=Job.State.FAILED, error="No bucket.")
        make_job(registry, "scan", state=Job.State.SUCCEEDED)
        assert self.alerts() == []


@pytest.mark.django_db
class TestRegistry:
    def test_it_shows_the_ledger_with_a_table_twin(self, client: Client, root: User, registry: Registry) -> None:
        make_scan(registry, bytes=2**21, ledger={"reachable": 2**20, "untagged": 2**20})
        text = text_of(client, "/r/alpha/")
        assert '<rect class="fill-untagged" x="500.00" width="500.00"' in text
        assert text.count("50 %") >= 2

    def test_no_page_ever_shows_a_secret(self, client: Client, root: User) -> None:
        make_scan(make_registry("alpha", access_key="AKIDCANARY", secret_key="canary-secret"))
        for path in ("/", "/registries/", "/r/alpha/", "/r/alpha/repositories/", "/jobs/"):
            assert "canary" not in text_of(client, path).casefold()

    def test_a_viewer_sees_buttons_and_why_not(self, client: Client, registry: Registry) -> None:
        client.force_login(make_member(registry, Role.VIEWER))
        text = text_of(client, "/r/alpha/")
        assert text.count("disabled title=") == 2
        assert 'action="/r/alpha/scan/"' not in text


@pytest.mark.django_db
class TestErrorPages:
    def test_not_found_wears_the_frame(self, client: Client, root: User) -> None:
        response = client.get("/no/such/page/")
        assert response.status_code == 404
        assert "There is nothing here" in response.content.decode()
        assert "Sign out" in response.content.decode()

    def test_a_stranger_gets_it_without(self) -> None:
        assert "Sign out" not in Client().get("/no/such/page/").content.decode()

    def test_forbidden_says_what_is_missing(self, client: Client, registry: Registry) -> None:
        client.force_login(make_member(registry, Role.VIEWER))
        response = client.post("/r/alpha/scan/")
        assert "needs the role operator on Alpha" in response.content.decode()

    def test_a_form_without_token_says_what_to_do(self, root: User) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(root)
        assert "This form has expired" in client.post("/sign-out/").content.decode()

    def test_a_failure_shows_no_details(self, client: Client, root: User, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: Any) -> None:
            raise RuntimeError("canary-secret")

        monkeypatch.setattr("dashboard.views.registries.selectors.registry_cards", fail)
        client.raise_request_exception = False
        response = client.get("/")
        assert response.status_code == 500
        assert "Something broke" in response.content.decode()
        assert "canary" not in response.content.decode()


@pytest.mark.django_db
class TestHealth:
    def test_it_is_ready(self, client: Client) -> None:
        assert client.get("/healthz/ready").json() == {"database": "ok", "broker": "ok"}

    def test_a_broker_that_is_away_is_named(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(**given: Any) -> None:
            raise ConnectionRefusedError

        monkeypatch.setattr("celery.app.base.Celery.connection_for_write", lambda self, **given: refuse())
        response = client.get("/healthz/ready")
        assert (response.status_code, response.json()) == (503, {"database": "ok", "broker": "down"})

    def test_a_database_that_is_away_is_named(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse() -> None:
            raise DatabaseError

        monkeypatch.setattr(health.connection, "cursor", refuse)
        assert health.database_answers() is False


class TestTemplates:
    """What a page must not hold. The content security policy would stop most of it, in the browser and too late."""

    @pytest.mark.parametrize(
        ("what", "pattern"),
        [
            ("unescaped data", r"\|\s*safe\b|safeseq|autoescape\s+off"),
            ("inline style", r"\sstyle=|<style"),
            ("inline script", r"<script(?![^>]*\bsrc=)|\son[a-z]+="),
            ("evaluated htmx", r"hx-on|hx-vals=[\"']js:|js:"),
            ("another host", r"(?:src|href|action)=[\"'](?:https?:)?//"),
        ],
    )
    def test_no_template_holds(self, what: str, pattern: str) -> None:
        assert not [path.name for path in own_templates() if re.search(pattern, path.read_text())]

    def test_every_icon_is_drawn(self) -> None:
        static = Path(settings.BASE_DIR, "dashboard/static/dashboard")
        drawn = set(re.findall(r'symbol id="([^"]+)"', (static / "icons.svg").read_text()))
        used = {name for path in own_templates() for name in re.findall(r'{% icon "([^"]+)"', path.read_text())}
        used |= {name for _, name, _ in ui.STATES.values()} | set(ui.KIND_ICONS.values())
        used |= {"artifact", "up", "down", "sort", "copy", "check"}
        assert used <= drawn

    def test_nothing_marks_data_as_safe(self) -> None:
        sources = Path(settings.BASE_DIR, "dashboard").rglob("*.py")
        assert not [path.name for path in sources if re.search(r"mark_safe|SafeString\(", path.read_text())]


class TestComponents:
    @pytest.mark.parametrize(
        ("number", "shown"),
        [
            (0, "0 B"),
            (1023, "1,023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (2**20 - 1, "1.0 MiB"),
            (5 * 2**30, "5.0 GiB"),
            (2**60, "1,024.0 PiB"),
        ],
    )
    def test_sizes(self, number: int, shown: str) -> None:
        assert ui.readable_size(number) == shown

    def test_a_size_is_exact_in_its_title(self) -> None:
        assert 'title="1,234,567 bytes"' in str(ui.bytes_(1234567))

    @pytest.mark.parametrize("value", [None, ""])
    def test_nothing_is_a_dash(self, value: Any) -> None:
        assert [ui.bytes_(value), ui.count(value)] == ["—", "—"]

    @pytest.mark.parametrize(
        ("span", "shown"),
        [
            (timedelta(seconds=3), "just now"),
            (timedelta(seconds=-3), "just now"),
            (timedelta(seconds=50), "1 minute ago"),
            (timedelta(minutes=44), "44 minutes ago"),
            (timedelta(minutes=50), "1 hour ago"),
            (timedelta(hours=23), "1 day ago"),
            (timedelta(days=40), "40 days ago"),
            (timedelta(days=100), "3 months ago"),
            (timedelta(days=800), "2 years ago"),
            (timedelta(hours=-5), "in 5 hours"),
        ],
    )
    def test_elapsed(self, span: timedelta, shown: str) -> None:
        assert ui.elapsed(span) == shown

    @pytest.mark.parametrize(
        ("span", "shown"),
        [
            (timedelta(seconds=0.42), "0.4 s"),
            (timedelta(seconds=59.7), "1 min 0 s"),
            (timedelta(seconds=125), "2 min 5 s"),
            (timedelta(hours=3, minutes=10, seconds=40), "3 h 10 min"),
            (None, "—"),
        ],
    )
    def test_durations(self, span: timedelta | None, shown: str) -> None:
        assert ui.duration(span) == shown

    def test_a_digest_is_short_but_copied_whole(self) -> None:
        digest = f"sha256:{'ab' * 32}"
        text = str(ui.digest(digest))
        assert ">sha256:abababababab<" in text
        assert f'data-copy="{digest}"' in text

    def test_components_escape(self) -> None:
        evil = '"><script>'
        for text in (ui.digest(evil), ui.pill(evil), ui.copy_button(evil, evil), ui.icon("ok", evil)):
            assert "<script>" not in text

    @pytest.mark.parametrize(
        ("text", "is_link"),
        [
            ("https://example.org/a?b=c", True),
            ("http://example.org", True),
            ("javascript:alert(1)", False),
            ("JAVASCRIPT:alert(1)", False),
            ("data:text/html,x", False),
            ("//example.org", False),
            (" https://example.org", False),
            ("https://example.org is nice", False),
            ("see https://example.org", False),
        ],
    )
    def test_web_links(self, text: str, is_link: bool) -> None:
        assert ui.is_web_link(text) is is_link


class TestLedger:
    def test_every_byte_has_its_place_in_the_bar(self) -> None:
        parts = ledger.segments({"links": 1, "reachable": 5, "of_the_future": 2, "untagged": 0, "unknown": 2})
        assert [part.title for part in parts] == ["Reachable", "Links", "Unknown", "Of the future"]
        assert [round(part.start) for part in parts] == [0, 500, 600, 800]
        assert sum(part.width for part in parts) == pytest.approx(ledger.BAR_WIDTH)

    def test_a_small_share_is_not_nothing(self) -> None:
        parts = ledger.segments({"reachable": 10**6, "links": 1})
        assert [part.percent for part in parts] == ["100 %", "< 1 %"]

    def test_an_empty_bucket_has_no_bar(self) -> None:
        assert ledger.segments({"reachable": 0}) == []
