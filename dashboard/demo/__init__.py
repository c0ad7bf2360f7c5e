"""The demo: an S3 server of our own and a small registry in it, so that the first start has something to show.

The server checks no signatures and listens on the loopback interface only; any key pair is as good as this one.
"""

from __future__ import annotations

from typing import Final

HOST: Final = "127.0.0.1"
BUCKET: Final = "demo"
REGION: Final = "us-east-1"
ACCESS_KEY: Final = "demo"
SECRET_KEY: Final = "demodemo"  # noqa: S105 - see above
