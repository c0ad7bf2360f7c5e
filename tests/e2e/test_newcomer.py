"""A newcomer's first hour, in a browser, against everything that `make up` starts."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.components import OciLayout, S3Process
from tests.components.browser import Visitor
from tests.components.images import digest_of
from tests.components.s3 import ACCESS_KEY, SECRET_KEY
from tests.e2e.conftest import House

PATIENCE = 60_000  # milliseconds for a worker to end a job


def test_from_the_printed_link_to_an_image_of_ones_own(
    house: House, visitor: Visitor, s3: S3Process, stored: str, layout: OciLayout, archive: Path
) -> None:
    page = visitor.page

    page.goto(house.sign_in)
    visitor.inspect("one-time link")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    visitor.inspect("overview")

    add_registry(visitor, s3.endpoint, stored)
    expect(page.get_by_text("Everything the registry needs works")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("row", name="Write an object")).to_contain_text("Works")
    visitor.inspect("tested registry")

    page.goto("/r/harbour/")
    visitor.inspect("registry before its first scan")
    page.get_by_role("main").get_by_role("button", name="Scan now").first.click()
    wait_for_job(page)
    visitor.inspect("scan job")

    page.goto("/r/harbour/")
    visitor.inspect("registry")
    page.goto("/r/harbour/repositories/")
    visitor.inspect("repositories")
    page.get_by_role("main").get_by_role("link", name="team").click()
    page.get_by_role("main").get_by_role("link", name="api").click()
    expect(page.get_by_role("row", name="1.0")).to_be_visible()
    visitor.inspect("tags")

    page.get_by_role("row", name="1.0").get_by_role("link", name="1.0").click()
    expect(page.get_by_role("main")).to_contain_text(digest_of(layout.manifest("api")))
    visitor.inspect("manifest")

    page.goto("/r/harbour/import/")
    visitor.inspect("import")
    page.get_by_label("Archive").set_input_files(archive)
    page.get_by_label("Store as").fill("team/worker:2.0")
    page.get_by_role("button", name="Import").click()
    page.wait_for_url("**/jobs/*/")
    wait_for_job(page)
    expect(page.get_by_role("main")).to_contain_text("team/worker:2.0")
    visitor.inspect("import job")

    page.goto("/r/harbour/tags/team/worker")
    expect(page.get_by_role("row", name="2.0")).to_be_visible()

    for name, address in [("jobs", "/jobs/"), ("uploads", "/r/harbour/uploads/"), ("registries", "/registries/")]:
        page.goto(address)
        visitor.inspect(name)
    assert visitor.problems == [], visitor.report()


def test_the_link_works_once(house: House, visitor: Visitor) -> None:
    visitor.page.goto(house.sign_in)

    expect(visitor.page.get_by_role("button", name="Sign in")).not_to_be_visible()
    visitor.inspect("spent link")
    assert [problem for problem in visitor.problems if "axe" in problem or "Security Policy" in problem] == []


def test_nothing_is_shown_before_signing_in(visitor: Visitor) -> None:
    visitor.page.goto("/jobs/")

    expect(visitor.page.get_by_role("heading", name="Sign in")).to_be_visible()
    visitor.inspect("sign-in")
    assert visitor.problems == [], visitor.report()


def add_registry(visitor: Visitor, endpoint: str, bucket: str) -> None:
    """Enter a registry in the admin and have it tested."""
    page = visitor.page
    page.goto("/")
    page.get_by_role("link", name="Add your own registry").or_(
        page.get_by_role("link", name="Add a registry")
    ).first.click()
    visitor.inspect("registry form")
    entries = {
        "Name:": "Harbour",
        "Bucket:": bucket,
        "Region:": "us-east-1",
        "Endpoint:": endpoint,
        "Access key:": ACCESS_KEY,
        "Secret key:": SECRET_KEY,
    }
    for label, value in entries.items():
        page.get_by_label(label, exact=True).fill(value)
    expect(page.get_by_label("Short name:")).to_have_value("harbour")
    page.get_by_role("button", name="Save and test connection").click()
    expect(page.get_by_role("heading", name="Connection")).to_be_visible()


def wait_for_job(page: Page) -> None:
    """Watch a job's page until it says that the job is done; nobody reloads it."""
    expect(page.locator("#job-head")).to_contain_text("Done", timeout=PATIENCE)
