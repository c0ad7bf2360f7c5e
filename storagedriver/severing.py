"""Cutting the connections that requests wait on: the way out for a thread that a dripping endpoint holds.

A read times out when nothing comes for a while. An endpoint that sends a byte a second never lets it.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from botocore.awsrequest import AWSHTTPConnection
from botocore.httpsession import URLLib3Session


def track_connections(session: URLLib3Session) -> None:
    """Remember which of a session's connections are in use, so that `sever` finds them."""
    in_use: WeakSet[AWSHTTPConnection] = WeakSet()

    class Tracking:
        def _get_conn(self, timeout: float | None = None) -> Any:
            connection = super()._get_conn(timeout)  # type: ignore[misc]
            in_use.add(connection)
            return connection

        def _put_conn(self, connection: Any) -> None:
            if connection is not None:  # urllib3 puts None back for one that failed
                in_use.discard(connection)
            super()._put_conn(connection)  # type: ignore[misc]

    pools: dict[str, type] = session._pool_classes_by_scheme  # type: ignore[attr-defined]  # a test fails if it goes
    for scheme, pool in list(pools.items()):
        pools[scheme] = type(pool.__name__, (Tracking, pool), {})
    session._connections_in_use = in_use  # type: ignore[attr-defined]


def sever(session: URLLib3Session) -> int:
    """Shut the session's connections in use down and return their number; what waits on one fails at once."""
    severed = 0
    for connection in list(session._connections_in_use):  # type: ignore[attr-defined]
        if (sock := connection.sock) is not None:
            with suppress(OSError):  # it ended by itself meanwhile
                sock.shutdown(socket.SHUT_RDWR)
                severed += 1
    return severed
