"""The demo: an S3 server of our own and a small registry in it, so that the first start has something to show.

The server checks no signatures and listens on the loopback interface only; any key pair is as good as this one.
"""

from __future__ import annotations

from typing import Final

BUCKET: Final = "demo-registry"
REGION: Final = "us-east-1"
ACCESS_KEY: Final = "demo"
SECRET_KEY: Final = "demo-secret"  # noqa: S105 - see above
