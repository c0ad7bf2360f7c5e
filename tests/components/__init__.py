"""Real servers and clients for the tests: each a plain class that starts on a free loopback port and stops what it started."""

from __future__ import annotations

from tests.components.databases import Postgres, Redis
from tests.components.images import Image, OciLayout
from tests.components.process import Process, free_port, need, wait_for
from tests.components.proxy import Answer, Proxy
from tests.components.registry import DockerRegistry
from tests.components.s3 import S3Process
from tests.components.skopeo import copy_image, pull

__all__ = [
    "Answer",
    "DockerRegistry",
    "Image",
    "OciLayout",
    "Postgres",
    "Process",
    "Proxy",
    "Redis",
    "S3Process",
    "copy_image",
    "free_port",
    "need",
    "pull",
    "wait_for",
]
