"""The whole product as `make up` starts it, a bucket of a real registry, and a browser."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.components import DockerRegistry, OciLayout, Process, S3Process, copy_image, free_port
from tests.components.browser import Visitor, chromium
from tests.components.images import layer
from tests.components.process import ROOT


@dataclass(frozen=True)
class House:
    """Where the product runs, and the link it printed."""

    address: str
    sign_in: str


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """`manage.py up` in a data folder of its own."""
    folder = tmp_path_factory.mktemp("house")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PYTEST"))}
    command = [sys.executable, "manage.py", "up", "--port", str(free_port())]
    with Process(command, folder / "up.log", env=env | {"DATA_DIR": str(folder / "data")}) as up:
        up.wait_until(lambda: "/sign-in/link/" in up.output(), timeout=120)
        address, sign_in = re.findall(r"http://\S+", up.output())
        yield House(address, sign_in)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visitor(house: House, chrome: Browser, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """A browser window on the product. What it shows when a test fails goes to test-results/."""
    visitor = Visitor(chrome, house.address)
    failed_before = request.session.testsfailed
    yield visitor
    if request.session.testsfailed > failed_before:
        visitor.page.screenshot(path=ROOT / "test-results" / f"{request.node.name}.png", full_page=True)
    visitor.page.context.close()


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> OciLayout:
    images = OciLayout(tmp_path_factory.mktemp("images") / "layout")
    base = layer("base", 200_000)
    images.image("api", base, layer("api"), env=("VERSION=1",))
    platforms = [images.image("", base, layer(name), architecture=name) for name in ("amd64", "arm64")]
    images.index("web", *platforms)
    images.image("worker", base, layer("model", 12 * 2**20))
    return images


@pytest.fixture
def stored(s3: S3Process, bucket: str, layout: OciLayout, tmp_path: Path) -> str:
    """A bucket to which a client pushed two images through a real registry."""
    registry = DockerRegistry(tmp_path, s3.endpoint, bucket)
    copy_image(layout.source("api"), f"docker://{registry.host}/team/api:1.0", "--preserve-digests")
    copy_image(layout.source("web"), f"docker://{registry.host}/team/web:3.1", "--all")
    registry.stop()
    return bucket


@pytest.fixture
def archive(layout: OciLayout, tmp_path: Path) -> Path:
    """What a developer saved and now wants in the registry."""
    path = tmp_path / "worker.tar"
    copy_image(layout.source("worker"), f"docker-archive:{path}:example/worker:1")
    return path
