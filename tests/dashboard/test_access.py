"""Every address of the project, as everybody: deny by default, no change without a token, no change by looking."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from dashboard.models import Job, Role
from dashboard.services.accounts import sign_in_link
from tests.dashboard.factories import (
    make_job,
    make_member,
    make_registry,
    make_repository,
    make_scan,
    make_superuser,
    make_tag,
    make_upload,
    make_user,
)

pytestmark = pytest.mark.django_db

ROLES = ("anonymous", "stranger", "viewer", "operator", "administrator", "superuser")

# What a GET answers to each of ROLES, in their order. A method in front of the name stands for a request by it.
# 302 for the anonymous is the way to the sign-in page, checked below.
PAGES = {
    "overview": "302 200 200 200 200 200",
    "registry_list": "302 200 200 200 200 200",
    "registry_detail": "302 404 200 200 200 200",
    "scan_start": "302 405 405 405 405 405",
    "POST scan_start": "302 404 403 302 302 302",
    "check_start": "302 405 405 405 405 405",
    "POST check_start": "302 404 403 302 302 302",
    "repository_list": "302 404 200 200 200 200",
    "repository_tags": "302 404 200 200 200 200",
    "manifest_detail": "302 404 200 200 200 200",
    "manifest_raw": "302 404 200 200 200 200",
    "upload_list": "302 404 200 200 200 200",
    "POST upload_list": "302 404 403 302 302 302",
    "archive_upload": "302 404 403 200 200 200",
    "POST archive_upload": "302 404 403 422 422 422",
    "job_list": "302 200 200 200 200 200",
    "job_detail": "302 404 200 200 200 200",
    "job_progress": "302 404 200 200 200 200",
    "job_cancel": "302 405 405 405 405 405",
    "POST job_cancel": "302 404 403 302 302 302",
    "job_retry": "302 405 405 405 405 405",
    "POST job_retry": "302 404 403 302 302 302",
    "sign_in": "200 302 302 302 302 302",
    "sign_in_link": "200 200 200 200 200 200",
    "sign_out": "302 405 405 405 405 405",
    "POST sign_out": "302 302 302 302 302 302",
    "password": "302 200 200 200 200 200",
    "health_live": "200 200 200 200 200 200",
    "health_ready": "200 200 200 200 200 200",
    "admin:index": "302 302 302 302 200 200",
    "admin:login": "302 403 403 403 302 302",
    "admin:logout": "302 302 302 302 405 405",
    "admin:password_change": "302 302 302 302 200 200",
    "admin:password_change_done": "302 302 302 302 200 200",
    "admin:autocomplete": "302 302 302 302 403 403",
    "admin:jsi18n": "302 302 302 302 200 200",
    "admin:view_on_site": "302 302 302 302 404 404",
    "admin:app_list": "302 302 302 302 200 200",
    "admin:(?P<url>.*)$": "302 302 302 302 404 404",
    "admin:dashboard_registry_changelist": "302 302 302 302 200 200",
    "admin:dashboard_registry_add": "302 302 302 302 403 200",
    "admin:dashboard_registry_change": "302 302 302 302 200 200",
    "admin:dashboard_registry_delete": "302 302 302 302 200 200",
    "admin:dashboard_registry_history": "302 302 302 302 200 200",
    "admin:dashboard_registry_connection": "302 302 302 302 200 200",
    "admin:dashboard_registry_check": "302 302 302 302 405 405",
    "POST admin:dashboard_registry_check": "302 302 302 302 302 302",
    "admin:auth_user_password_change": "302 302 302 302 403 200",
}
MODELS_OF_THE_SUPERUSER = [
    "auth_group",
    "auth_user",
    "django_celery_beat_clockedschedule",
    "django_celery_beat_crontabschedule",
    "django_celery_beat_intervalschedule",
    "django_celery_beat_periodictask",
    "django_celery_beat_solarschedule",
]
for _model in MODELS_OF_THE_SUPERUSER:
    for _verb, _codes in (("changelist", "403 200"), ("add", "403 200"), ("change", "403 302"), ("delete", "403 302")):
        PAGES[f"admin:{_model}_{_verb}"] = f"302 302 302 302 {_codes}"
    PAGES[f"admin:{_model}_history"] = "302 302 302 302 302 302"
NAMES = sorted({entry.rpartition(" ")[2] for entry in PAGES})


class World:
    """One registry with something of everything, and somebody in every role."""

    def __init__(self) -> None:
        self.registry = make_registry("alpha")
        self.repository = make_repository(self.registry)
        self.tag = make_tag(self.repository)
        self.upload = make_upload(self.registry)
        self.job = make_job(self.registry, "import", state=Job.State.RUNNING, phase=0)
        self.failed = make_job(self.registry, "import", state=Job.State.FAILED, phase=0)
        make_scan(self.registry)
        other = make_registry("beta")
        self.people = {
            "stranger": make_member(other, Role.ADMINISTRATOR, "charlie"),
            "viewer": make_member(self.registry, Role.VIEWER, "victor"),
            "operator": make_member(self.registry, Role.OPERATOR, "bob"),
            "administrator": make_member(self.registry, Role.ADMINISTRATOR, "alice", is_staff=True),
            "superuser": make_superuser(),
        }
        self.guest = make_user("guest")

    def client(self, role: str, **options: Any) -> Client:
        client = Client(**options)
        if role != "anonymous":
            client.force_login(self.people[role])
        return client

    def address(self, name: str) -> str:
        """The address of a URL name, with whatever it takes filled in."""
        if name == "sign_in_link":
            return sign_in_link(self.guest)
        if name == "admin:(?P<url>.*)$":
            return "/admin/no/such/page"
        if name == "admin:view_on_site":
            return reverse(name, args=[0, 0])
        if name == "admin:app_list":
            return reverse(name, args=["dashboard"])
        pattern = patterns()[name]
        known = {
            "slug": self.registry.slug,
            "repository": self.repository.name,
            "digest": self.tag.digest,
            "pk": {"job_retry": self.failed.pk}.get(name, self.job.pk) if name.startswith("job_") else self.registry.pk,
            "object_id": self.registry.pk if "registry" in name else 0,
            "id": self.guest.pk,
        }
        wanted = pattern.pattern.converters if hasattr(pattern.pattern, "converters") else {}
        return reverse(name, kwargs={key: known[key] for key in wanted})


def patterns() -> dict[str, URLPattern]:
    """Every pattern of the project by its name, with its namespace; a nameless one by its text."""

    def walk(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, URLPattern]]:
        for entry in resolver.url_patterns:
            if isinstance(entry, URLResolver):
                yield from walk(entry, f"{prefix}{entry.namespace}:" if entry.namespace else prefix)
            else:
                yield f"{prefix}{entry.name or entry.pattern}", entry

    found = dict(walk(get_resolver(), ""))
    # Django's own redirect of addresses from before 1.9; it leads to the change page.
    found.pop("admin:<path:object_id>/")
    return found


@pytest.fixture
def world() -> World:
    return World()


def test_every_address_is_in_the_matrix() -> None:
    assert set(NAMES) == set(patterns())


@pytest.mark.parametrize("entry", PAGES)
def test_it_answers_each_role_as_the_matrix_says(world: World, entry: str) -> None:
    method, _, name = entry.rpartition(" ")
    expected = dict(zip(ROLES, map(int, PAGES[entry].split()), strict=True))
    address = world.address(name)
    answers = {role: world.client(role).generic(method or "GET", address).status_code for role in ROLES}
    assert answers == expected


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"sign_in", "sign_in_link", "health_live", "health_ready"}))
def test_strangers_to_the_site_are_sent_to_sign_in(world: World, name: str) -> None:
    response = Client().get(world.address(name), follow=True)
    assert response.redirect_chain[-1][0].startswith(reverse("sign_in"))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("name", NAMES)
def test_no_unsafe_request_passes_without_a_token(world: World, name: str, method: str) -> None:
    client = world.client("superuser", enforce_csrf_checks=True)
    before = rows()
    response = client.generic(method, world.address(name))
    # The import page looks at the token itself, after role and size; methods that it does not know end before that.
    assert response.status_code == (405 if name == "archive_upload" and method != "POST" else 403)
    assert rows() == before


@pytest.mark.parametrize("name", NAMES)
def test_looking_changes_nothing(world: World, name: str) -> None:
    client = world.client("superuser")
    address = world.address(name)
    before = rows()
    client.get(address)
    assert rows() == before


def rows() -> dict[str, list[Any]]:
    """Every row of every table but the sessions."""
    models = [model for model in apps.get_models() if model is not Session]
    return {model._meta.label: list(model._base_manager.order_by("pk").values_list()) for model in models}
