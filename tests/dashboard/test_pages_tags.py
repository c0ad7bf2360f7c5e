"""Repositories, folders and tags on their pages."""

from __future__ import annotations

import base64
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dashboard.models import Reference, Registry, Repository, Role, Tag
from dashboard.selectors import repositories, tags
from dashboard.selectors.paging import keyset_page
from tests.dashboard.factories import (
    NOW,
    OCI_INDEX,
    digest_of,
    make_manifest,
    make_member,
    make_reference,
    make_registry,
    make_repository,
    make_revision,
    make_scan,
    make_tag,
    natural_order,
)

pytestmark = pytest.mark.django_db
BUDGET = 12  # queries of a list page, sign-in and frame included


@pytest.fixture
def registry() -> Registry:
    return make_registry("alpha")


@pytest.fixture
def viewer(registry: Registry) -> User:
    return make_member(registry, Role.VIEWER, "victor")


@pytest.fixture
def show(client: Client, viewer: User) -> Any:
    """Fetch a page as a viewer; give its text."""
    client.force_login(viewer)

    def fetch(path: str) -> str:
        response = client.get(path)
        assert response.status_code == 200
        return response.content.decode()

    return fetch


@pytest.fixture
def repository(registry: Registry) -> Repository:
    return make_repository(registry, "team/api")


def fill(repository: Repository, number: int) -> None:
    """Add so many tags, each with an image of its own."""
    manifests = [make_manifest(repository.registry, f"image {index}", total_size=index) for index in range(number)]
    Tag.objects.bulk_create(
        Tag(
            repository=repository,
            name=f"1.{index}",
            order=natural_order(f"1.{index}"),
            digest=manifest.digest,
            manifest=manifest,
            updated=NOW - timedelta(minutes=index % 7),
            seen=1,
        )
        for index, manifest in enumerate(manifests)
    )
    Repository.objects.filter(pk=repository.pk).update(tag_count=number)
    repository.refresh_from_db()


def queries(client: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


class TestFolders:
    def heads(self, registry: Registry, **filters: Any) -> list[str]:
        return [row.name for row in repositories.repository_page(registry, **filters).object_list]

    def test_it_works(self, registry: Registry) -> None:
        for name in ("tools", "team/web", "team/api", "team/api/worker"):
            make_repository(registry, name)
        assert self.heads(registry) == ["team/", "tools"]
        assert self.heads(registry, namespace="team") == ["team/api", "team/api/", "team/web"]
        assert self.heads(registry, namespace="team/api") == ["team/api/worker"]

    def test_a_folder_adds_up_what_it_holds(self, registry: Registry) -> None:
        make_repository(registry, "team/api", tag_count=3, size=10)
        make_repository(registry, "team/web", tag_count=4, size=20)
        (row,) = repositories.repository_page(registry).object_list
        assert (row.repositories, row.tags, row.bytes) == (2, 7, 30)

    def test_a_folder_holds_nothing_that_only_begins_like_it(self, registry: Registry) -> None:
        make_repository(registry, "team/api")
        make_repository(registry, "team_b/api")
        make_repository(registry, "team-b/api")
        assert self.heads(registry, namespace="team") == ["team/api"]

    def test_a_percent_sign_is_no_wildcard(self, registry: Registry) -> None:
        make_repository(registry, "team/api")
        assert self.heads(registry, namespace="t%m") == []

    def test_another_registry_stays_out(self, registry: Registry) -> None:
        make_repository(make_registry("beta"), "team/api")
        assert self.heads(registry) == []

    @pytest.mark.parametrize(
        ("sort", "expected"),
        [
            ("-tags", ["b", "c", "a"]),
            ("size", ["c", "a", "b"]),
            ("-updated", ["c", "b", "a"]),
            ("-name", ["c", "b", "a"]),
        ],
    )
    def test_it_sorts(self, registry: Registry, sort: str, expected: list[str]) -> None:
        make_repository(registry, "a", tag_count=1, size=2, updated=None)
        make_repository(registry, "b", tag_count=3, size=3, updated=NOW - timedelta(days=1))
        make_repository(registry, "c", tag_count=2, size=1)
        assert self.heads(registry, sort=sort) == expected

    def test_a_search_goes_through_all_names(self, registry: Registry) -> None:
        make_repository(registry, "team/api/worker")
        make_repository(registry, "tools")
        assert self.heads(registry, q="API") == ["team/api/worker"]

    def test_a_page_past_the_end_is_the_last(self, registry: Registry, show: Any) -> None:
        make_repository(registry, "tools")
        assert "tools" in show(reverse("repository_list", args=["alpha"]) + "?page=99")


class TestJump:
    def test_a_tag_is_found_by_repository_and_tag(self, registry: Registry, client: Client, viewer: User) -> None:
        tag = make_tag(make_repository(registry, "team/api"), "1.0")
        client.force_login(viewer)
        response = client.get(reverse("repository_list", args=["alpha"]), {"q": "team/api:1.0"})
        assert response["Location"] == f"/r/alpha/manifests/{tag.digest}/team/api?tag=1.0"

    @pytest.mark.parametrize("prefix", ["", "team/api@"])
    def test_a_manifest_is_found_by_its_digest(self, registry: Registry, prefix: str) -> None:
        tag = make_tag(make_repository(registry, "team/api"))
        assert repositories.jump(registry, f"{prefix}{tag.digest}") == ("team/api", "", tag.digest)

    def test_a_manifest_of_another_registry_is_not(self, registry: Registry) -> None:
        tag = make_tag(make_repository(make_registry("beta"), "team/api"))
        assert repositories.jump(registry, tag.digest) is None

    @pytest.mark.parametrize("q", ["", "api", ":", "@", "team/api:none", "sha256:00", "a:b@c:d"])
    def test_anything_else_is_a_search(self, registry: Registry, q: str) -> None:
        assert repositories.jump(registry, q) is None


class TestTags:
    def names(self, repository: Repository, **filters: Any) -> list[str]:
        return [row.name for row in tags.tag_page(repository, **filters)[0].rows]

    def test_numbers_sort_as_numbers(self, repository: Repository) -> None:
        for name in ("1.10", "1.9", "1.2", "latest"):
            make_tag(repository, name)
        assert self.names(repository) == ["1.2", "1.9", "1.10", "latest"]

    @pytest.mark.parametrize("sort", ["name", "-name", "size", "-size", "updated", "-updated"])
    def test_pages_forwards_and_backwards_show_each_tag_once(self, repository: Repository, sort: str) -> None:
        fill(repository, 250)
        forwards, at = [], ""
        for _ in range(3):
            found, _ = tags.tag_page(repository, sort=sort, at=at)
            forwards.append([row.name for row in found.rows])
            at = found.next or at
        assert [len(names) for names in forwards] == [100, 100, 50]
        assert len({name for names in forwards for name in names}) == 250
        middle, _ = tags.tag_page(repository, sort=sort, at=found.previous)
        assert [row.name for row in middle.rows] == forwards[1]
        first, _ = tags.tag_page(repository, sort=sort, at=middle.previous)
        assert [row.name for row in first.rows] == forwards[0]
        assert first.is_first

    @pytest.mark.parametrize(
        "at",
        [
            *("x", "e30", "W10", "WyJhIiwxLDJd", "WyJhIix7fSxbXV0", "WyJhIiwiXHUwMDAwIiwieCJd", "A" * 999),
            # ["a", {"time": "0001-01-01T00:00:00+23:59"}, 1]: before the first moment that UTC can say
            "WyJhIiwgeyJ0aW1lIjogIjAwMDEtMDEtMDFUMDA6MDA6MDArMjM6NTkifSwgMV0",
        ],
    )
    def test_a_place_that_makes_no_sense_is_the_first_page(self, repository: Repository, show: Any, at: str) -> None:
        make_tag(repository, "only")
        assert "tags/team/api" in show(f"/r/alpha/tags/team/api?at={at}&sort=updated")

    @pytest.mark.parametrize(
        "value", [2**63, -(2**64), "\0", "\ud800", None, 1.5, {"time": "2026-01-01"}, {"time": 1}, []]
    )
    def test_a_place_that_no_column_holds_is_the_first_page(self, repository: Repository, value: Any) -> None:
        make_tag(repository, "only")
        at = base64.urlsafe_b64encode(json.dumps(["a", value]).encode()).decode()
        assert [row.name for row in keyset_page(Tag.objects.all(), ["id"], at).rows] == ["only"]

    def test_a_tag_that_looks_like_a_date_pages_as_text(self, repository: Repository) -> None:
        for name in ("20260101T000000Z", "20260102T000000Z"):
            make_tag(repository, name)
        rows = Tag.objects.filter(repository=repository)
        first = keyset_page(rows, ["name"], size=1)
        assert [row.name for row in keyset_page(rows, ["name"], first.next, size=1).rows] == ["20260102T000000Z"]

    def test_the_filter_finds_text_anywhere(self, repository: Repository) -> None:
        for name in ("v1-RC2", "v1"):
            make_tag(repository, name)
        assert self.names(repository, q="rc") == ["v1-RC2"]

    def test_counting_stops_at_its_limit(self, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tags, "COUNT_LIMIT", 3)
        fill(repository, 5)
        assert str(tags.tag_page(repository, q="1.")[1]) == "3+"

    def test_an_unreadable_tag_says_why(self, repository: Repository, show: Any) -> None:
        tag = make_tag(repository, "broken", digest="", error="The link is empty.")
        Tag.objects.filter(pk=tag.pk).update(manifest=None)
        text = show("/r/alpha/tags/team/api")
        assert "Unreadable" in text
        assert "The link is empty." in text

    def test_an_index_shows_its_platforms_but_not_its_attestations(self, repository: Repository) -> None:
        index = make_manifest(repository.registry, kind="index", media_type=OCI_INDEX, os="", architecture="")
        for position, platform in enumerate(("linux/amd64", "linux/arm64", "unknown/unknown", "")):
            make_reference(index, Reference.Kind.CHILD, digest_of(platform), position, platform=platform)
        make_tag(repository, "latest", index)
        (row,) = tags.tag_page(repository)[0].rows
        assert row.platforms == ["linux/amd64", "linux/arm64"]

    @pytest.mark.parametrize("query", ["", "?sort=-size", "?sort=-updated", "?q=1."])
    def test_it_stays_within_its_queries(
        self, repository: Repository, client: Client, viewer: User, query: str
    ) -> None:
        fill(repository, 500)
        client.force_login(viewer)
        assert queries(client, f"/r/alpha/tags/team/api{query}") <= BUDGET

    def test_it_reads_no_manifest_content(self, repository: Repository, client: Client, viewer: User) -> None:
        fill(repository, 3)
        client.force_login(viewer)
        with CaptureQueriesContext(connection) as captured:
            client.get("/r/alpha/tags/team/api")
        assert not [query["sql"] for query in captured if '"content"' in query["sql"]]


class TestUntagged:
    def test_it_is_what_no_tag_index_or_subject_explains(self, repository: Repository) -> None:
        registry = repository.registry
        index = make_manifest(registry, "index", kind="index")
        tagged, child, left, signature = (
            make_manifest(registry, name) for name in ("tagged", "child", "left", "signature")
        )
        make_tag(repository, "latest", index)
        make_tag(repository, "one", tagged)
        make_reference(index, Reference.Kind.CHILD, child.digest)
        type(signature).objects.filter(pk=signature.pk).update(subject_digest=tagged.digest)
        for manifest in (child, left, signature):
            make_revision(repository, manifest)
        assert [row.digest for row in tags.untagged_page(repository).rows] == [left.digest]
        assert [row.digest for row in tags.referrer_page(repository).rows] == [signature.digest]

    def test_a_tag_elsewhere_does_not_help(self, repository: Repository) -> None:
        manifest = make_manifest(repository.registry)
        make_tag(make_repository(repository.registry, "team/web"), "latest", manifest)
        make_revision(repository, manifest)
        assert [row.digest for row in tags.untagged_page(repository).rows] == [manifest.digest]

    def test_no_manifest_is_looked_up_through_all_tags(self, repository: Repository) -> None:
        with CaptureQueriesContext(connection) as captured:
            tags.untagged_page(repository)
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {captured[0]['sql']}")
            plan = " ".join(row[3] for row in cursor.fetchall())
        assert "USING INDEX dashboard_tag_manifest_id" in plan
        assert "SCAN" not in plan


class TestEmptyStates:
    def test_a_registry_without_a_scan_offers_one_to_operators(self, client: Client, registry: Registry) -> None:
        client.force_login(make_member(registry, Role.OPERATOR))
        text = client.get("/r/alpha/repositories/").content.decode()
        assert "never scanned" in text
        assert 'action="/r/alpha/scan/"' in text

    def test_a_viewer_is_told_who_can(self, registry: Registry, show: Any) -> None:
        text = show("/r/alpha/repositories/")
        assert "An operator of the registry can start one." in text
        assert 'action="/r/alpha/scan/"' not in text

    def test_a_search_without_result_can_be_cleared(self, registry: Registry, show: Any) -> None:
        make_scan(registry)
        assert "No repository matches" in show("/r/alpha/repositories/?q=zzz")

    def test_an_empty_bucket_says_what_to_check(self, registry: Registry, show: Any) -> None:
        make_scan(registry)
        assert "check its root directory" in show("/r/alpha/repositories/")


def test_sort_heads_say_the_present_order(repository: Repository, show: Any) -> None:
    make_tag(repository)
    text = show("/r/alpha/tags/team/api?sort=-updated")
    assert re.findall(r'aria-sort="(\w+)"', text) == ["none", "none", "descending"]


@pytest.mark.parametrize(
    "path", ["/r/alpha/repositories/", "/r/alpha/repositories/?q=team", "/registries/", "/", "/jobs/"]
)
def test_list_pages_stay_within_their_queries(registry: Registry, client: Client, viewer: User, path: str) -> None:
    for number in range(150):
        make_repository(registry, f"team/repository{number}")
    make_scan(registry)
    client.force_login(viewer)
    assert queries(client, path) <= BUDGET
