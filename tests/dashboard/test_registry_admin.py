"""Registries in the admin: who gets in, what is saved and tested, and that no secret ever comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.core.files.base import ContentFile
from django.test import Client
from django.urls import reverse

from dashboard.models import Archive, Job, Membership, Registry, Role
from dashboard.services import registries
from tests.dashboard.factories import (
    make_blob,
    make_job,
    make_member,
    make_registry,
    make_shard,
    make_superuser,
    make_user,
)

pytestmark = pytest.mark.django_db
CANARY = "canary-secret-key"
LIST, ADD = reverse("admin:dashboard_registry_changelist"), reverse("admin:dashboard_registry_add")


@pytest.fixture
def registry() -> Registry:
    return make_registry("images", secret_key=CANARY)


@pytest.fixture
def root() -> User:
    return make_superuser()


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def address(verb: str, registry: Registry) -> str:
    return reverse(f"admin:dashboard_registry_{verb}", args=[registry.pk])


def shown(client: Client, registry: Registry | None = None) -> dict[str, Any]:
    """Return what a browser would send from the form as it stands."""
    page = client.get(address("change", registry) if registry else ADD)
    sent: dict[str, Any] = {}
    for form in (page.context["adminform"].form, *(inline.formset.management_form for inline in inlines(page))):
        sent |= {form[name].html_name: form[name].value() for name in form.fields}
    for inline in inlines(page):
        for form in inline.formset.initial_forms:
            sent |= {form[name].html_name: form[name].value() for name in form.fields}
    return {name: value for name, value in sent.items() if value is not None and value is not False}


def inlines(page: Any) -> Any:
    return page.context["inline_admin_formsets"]


def new_row(client: Client, **fields: str) -> dict[str, Any]:
    """Return what a browser would send for a new registry."""
    values = {"name": "Team", "slug": "team", "bucket": "team-images", "region": "eu-central-1"}
    return shown(client) | values | {"access_key": "AKIDEXAMPLE", "secret_key": CANARY} | fields


# Who may do what


@pytest.mark.parametrize(
    ("who", "statuses"),
    [
        # list, add, change, connection, check, delete
        ("anonymous", [302, 302, 302, 302, 302, 302]),
        ("stranger", [302, 302, 302, 302, 302, 302]),
        ("administrator without staff status", [302, 302, 302, 302, 302, 302]),
        ("staff without a role", [403, 403, 403, 404, 404, 403]),
        ("staff viewer", [403, 403, 403, 403, 403, 403]),
        ("staff operator", [403, 403, 403, 403, 403, 403]),
        ("staff administrator", [200, 403, 200, 200, 302, 200]),
        ("superuser", [200, 200, 200, 200, 302, 200]),
    ],
)
def test_the_doors(registry: Registry, who: str, statuses: list[int]) -> None:
    client = Client()
    user = {
        "anonymous": lambda: None,
        "stranger": make_user,
        "administrator without staff status": lambda: make_member(registry, Role.ADMINISTRATOR),
        "staff without a role": lambda: make_user(is_staff=True),
        "staff viewer": lambda: make_member(registry, Role.VIEWER, is_staff=True),
        "staff operator": lambda: make_member(registry, Role.OPERATOR, is_staff=True),
        "staff administrator": lambda: make_member(registry, Role.ADMINISTRATOR, is_staff=True),
        "superuser": make_superuser,
    }[who]()
    if user is not None:
        client.force_login(user)
    answers = [client.get(LIST), client.get(ADD), client.get(address("change", registry))]
    answers += [client.get(address("connection", registry)), client.post(address("check", registry))]
    Job.objects.all().delete()
    answers.append(client.get(address("delete", registry)))
    assert [answer.status_code for answer in answers] == statuses


def test_the_list_shows_what_the_user_may_see(registry: Registry) -> None:
    make_registry("hidden")
    seen = make_registry("seen")
    user = make_member(registry, Role.ADMINISTRATOR, is_staff=True)
    Membership.objects.create(registry=seen, user=user, role=Role.VIEWER)
    page = signed_in(user).get(LIST)
    assert {row.slug for row in page.context["cl"].result_list} == {"images", "seen"}


def test_a_row_that_the_user_does_not_administer_leads_to_its_page(registry: Registry) -> None:
    seen = make_registry("seen")
    user = make_member(registry, Role.ADMINISTRATOR, is_staff=True)
    Membership.objects.create(registry=seen, user=user, role=Role.VIEWER)
    page = signed_in(user).get(LIST).content.decode()
    assert f'href="{seen.get_absolute_url()}"' in page
    assert address("change", seen) not in page


def test_testing_needs_a_post(registry: Registry, root: User) -> None:
    assert signed_in(root).get(address("check", registry)).status_code == 405


# Saving


def test_a_new_registry_is_stored(root: User) -> None:
    client = signed_in(root)
    client.post(ADD, new_row(client))
    assert (Registry.objects.get().bucket, Registry.objects.get().secret_key) == ("team-images", CANARY)


def test_who_adds_a_registry_administers_it() -> None:
    user = make_user(is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="add_registry"))
    client = signed_in(user)
    client.post(ADD, new_row(client))
    assert Registry.objects.get().role_of(user) == Role.ADMINISTRATOR


def test_a_change_is_stored_and_counted(registry: Registry, root: User) -> None:
    client = signed_in(root)
    client.post(address("change", registry), shown(client, registry) | {"name": "New name"})
    registry.refresh_from_db()
    assert (registry.name, registry.revision, registry.secret_key) == ("New name", 2, CANARY)


def test_a_refused_change_says_so_on_top_and_at_the_field(registry: Registry, root: User) -> None:
    client = signed_in(root)
    page = client.post(address("change", registry), shown(client, registry) | {"bucket": "B"}).content.decode()
    assert "Nothing was saved" in page
    assert page.count("A bucket name has 3 to 63 characters.") == 3  # summary, field, rule


def test_a_change_after_another_ones_is_refused(registry: Registry, root: User) -> None:
    client = signed_in(root)
    stale = shown(client, registry) | {"name": "Mine"}
    registry.name = "Theirs"
    registries.update(registry=registry, actor=None)
    page = client.post(address("change", registry), stale).content.decode()
    assert "Somebody changed this registry" in page
    assert Registry.objects.get().name == "Theirs"


def test_a_race_that_the_form_did_not_see_saves_nothing(
    registry: Registry, root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(**_: object) -> None:
        raise registries.RegistryChanged

    monkeypatch.setattr(registries, "update", lose)
    client = signed_in(root)
    answer = client.post(address("change", registry), shown(client, registry) | {"name": "Mine"}, follow=True)
    assert "Nothing was saved" in answer.content.decode()
    assert Registry.objects.get().name != "Mine"


def test_warnings_of_the_settings_are_told_after_saving(root: User) -> None:
    client = signed_in(root)
    page = client.post(ADD, new_row(client, region="eu-central-9"), follow=True).content.decode()
    assert "Region: eu-central-9 is not a known region." in page


def test_warnings_of_the_settings_stand_on_the_form(root: User) -> None:
    page = signed_in(root).get(address("change", make_registry(region="eu-central-9", region_endpoint="")))
    assert [warning["label"] for warning in page.context["setting_warnings"]] == ["Region"]


# Members


def test_a_member_is_added_by_name(registry: Registry, root: User) -> None:
    client, alice = signed_in(root), make_user("alice")
    row = {"memberships-TOTAL_FORMS": "1", "memberships-0-user": "alice", "memberships-0-role": str(Role.OPERATOR)}
    client.post(address("change", registry), shown(client, registry) | row)
    assert registry.role_of(alice) == Role.OPERATOR


def test_an_unknown_name_is_refused(registry: Registry, root: User) -> None:
    client = signed_in(root)
    row = {"memberships-TOTAL_FORMS": "1", "memberships-0-user": "nobody", "memberships-0-role": str(Role.VIEWER)}
    page = client.post(address("change", registry), shown(client, registry) | row).content.decode()
    assert "There is no active user of this name." in page


def test_a_member_stays_when_something_else_changes(registry: Registry, root: User) -> None:
    alice = make_member(registry, Role.VIEWER, "alice")
    client = signed_in(root)
    client.post(address("change", registry), shown(client, registry) | {"name": "New name"})
    assert (Registry.objects.get().name, registry.role_of(alice)) == ("New name", Role.VIEWER)


def test_only_a_superuser_is_told_who_has_an_account(registry: Registry, root: User) -> None:
    make_user("alice")
    admin = make_member(registry, Role.ADMINISTRATOR, is_staff=True)
    pages = [signed_in(user).get(address("change", registry)).content.decode() for user in (root, admin)]
    assert ["alice" in page for page in pages] == [True, False]


# The connection test


def test_the_button_starts_a_test_and_comes_back(registry: Registry, root: User) -> None:
    answer = signed_in(root).post(address("check", registry))
    assert (answer["Location"], Job.objects.get().kind) == (f"{address('change', registry)}#connection", "check")


def test_a_second_test_waits_for_the_first(registry: Registry, root: User) -> None:
    client = signed_in(root)
    client.post(address("check", registry))
    page = client.post(address("check", registry), follow=True).content.decode()
    assert "already running" in page
    assert Job.objects.count() == 1


def test_save_and_test_works_for_a_new_registry(root: User) -> None:
    client = signed_in(root)
    answer = client.post(ADD, new_row(client) | {"_test": ""})
    job = Job.objects.get()
    assert (job.registry.slug, job.revision) == ("team", job.registry.revision)
    assert answer["Location"] == f"{address('change', job.registry)}#connection"


def test_save_and_test_tests_what_was_saved(registry: Registry, root: User) -> None:
    client = signed_in(root)
    client.post(address("change", registry), shown(client, registry) | {"name": "New name", "_test": ""})
    assert Job.objects.get().revision == 2


def test_an_administrator_who_adds_may_test_at_once() -> None:
    user = make_user(is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="add_registry"))
    client = signed_in(user)
    client.post(ADD, new_row(client) | {"_test": ""})
    assert Job.objects.get().requested_by == user


def test_the_panel_asks_again_while_the_test_runs(registry: Registry, root: User) -> None:
    job = make_job(registry, "check", state=Job.State.RUNNING)
    row = {"check": "endpoint", "title": "Reach the endpoint", "outcome": "ok", "detail": "Answered.", "advice": ""}
    make_shard(job, result={"checks": [row | {"milliseconds": 12}]})
    page = signed_in(root).get(address("connection", registry)).content.decode()
    assert 'hx-trigger="every 1s"' in page
    assert "Answered." in page


def test_the_panel_shows_the_rows_and_rests_when_the_test_is_over(registry: Registry, root: User) -> None:
    row = {
        "check": "credentials",
        "title": "Sign in",
        "outcome": "failed",
        "detail": "Wrong <secret>.",
        "advice": "Enter it.",
    }
    result = {"checks": [row | {"milliseconds": 12}], "ok": False}
    make_job(registry, "check", state=Job.State.SUCCEEDED, result=result, finished=registry.created)
    page = signed_in(root).get(address("connection", registry)).content.decode()
    assert "hx-trigger" not in page
    assert "1 of 1 checks failed" in page
    assert "Wrong &lt;secret&gt;. <strong>Enter it.</strong>" in page


def test_the_panel_says_that_the_settings_changed_since(registry: Registry, root: User) -> None:
    job = make_job(registry, "check", state=Job.State.SUCCEEDED, result={"checks": []}, finished=registry.created)
    client = signed_in(root)
    before = client.get(address("connection", registry)).content.decode()
    Job.objects.filter(pk=job.pk).update(revision=0)
    after = client.get(address("connection", registry)).content.decode()
    assert ["changed since" in page for page in (before, after)] == [False, True]


# Secrets


def test_no_secret_comes_out(registry: Registry, root: User) -> None:
    """Saves and refuses secrets on every way, and looks for them wherever they could have gone."""
    client = signed_in(root)
    form = shown(client, registry)
    pages = [
        client.get(LIST),
        client.get(address("change", registry)),
        client.post(address("change", registry), form | {"secret_key": f"{CANARY}-2", "bucket": "B"}),
        client.post(address("change", registry), form | {"secret_key": f"{CANARY}-3", "_test": ""}, follow=True),
        client.get(reverse("admin:dashboard_registry_history", args=[registry.pk])),
        client.get(address("delete", registry)),
    ]
    assert Registry.objects.get().secret_key == f"{CANARY}-3"
    written = [page.content.decode() for page in pages]
    written += [entry.change_message + entry.object_repr for entry in LogEntry.objects.all()]
    written += [str(session.get_decoded()) for session in Session.objects.all()]
    written += [repr(values) for values in Job.objects.values()]
    assert [text for text in written if CANARY in text] == []


def test_the_history_names_the_secret_that_changed(registry: Registry, root: User) -> None:
    client = signed_in(root)
    client.post(address("change", registry), shown(client, registry) | {"secret_key": "another"})
    assert "Secret key" in LogEntry.objects.get().get_change_message()


# Deleting


def test_the_confirmation_says_that_the_bucket_is_safe(registry: Registry, root: User) -> None:
    make_blob(registry, f"sha256:{'0' * 64}")
    page = signed_in(root).get(address("delete", registry)).content.decode()
    assert f"No object in the bucket {registry.bucket} is deleted." in page
    assert "<li>1 blobs</li>" in page


def test_deleting_forgets_the_registry(registry: Registry, root: User) -> None:
    make_blob(registry, f"sha256:{'0' * 64}")
    signed_in(root).post(address("delete", registry), {"post": "yes"})
    assert not Registry.objects.exists()


def test_deleting_clears_the_spool_of_its_archives(registry: Registry, root: User, spool: Path) -> None:
    archive = Archive(registry=registry, name="app.tar", size=3)
    archive.file.save("app.tar", ContentFile(b"tar"))
    signed_in(root).post(address("delete", registry), {"post": "yes"})
    assert not list(spool.rglob("*.tar"))


def test_a_registry_at_work_is_not_deleted(registry: Registry, root: User) -> None:
    make_job(registry, "scan", state=Job.State.RUNNING)
    client = signed_in(root)
    client.post(address("delete", registry), {"post": "yes"})
    assert Registry.objects.exists()
    assert "cannot be deleted while work" in client.get(address("delete", registry)).content.decode()
