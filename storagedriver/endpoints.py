"""Which hosts a client may reach: the endpoint policy of an installation, held on every connection."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.httpsession import URLLib3Session

from storagedriver.errors import EndpointRefusedError

NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class EndpointPolicy:
    """Which hosts a client may reach. `allowed_hosts` (host or host:port) pass always, public addresses pass always.

    Everything else (loopback, private, link-local with the cloud's metadata service, multicast) needs `allow_private`.
    """

    allow_private: bool = True
    allowed_hosts: tuple[str, ...] = ()

    def allows_host(self, host: str, port: int | None) -> bool:
        """Say whether a host needs no look at its address."""
        listed = {allowed.lower() for allowed in self.allowed_hosts}
        return self.allow_private or host.lower() in listed or f"{host}:{port}".lower() in listed

    def check(self, host: str, port: int | None) -> None:
        """Resolve a host and refuse it if any address is refused. Raises EndpointRefusedError; unknown names pass."""
        if self.allows_host(host, port):
            return
        try:
            found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return  # connecting fails with a better message
        for *_rest, address in found:
            self.check_address(host, str(address[0]))

    def check_address(self, host: str, address: str) -> None:
        """Refuse a peer address that is not public. Raises EndpointRefusedError."""
        if not _is_public(address):
            raise EndpointRefusedError(host, address)


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if embedded is None and ip in NAT64:
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is not None:
            return _is_public(str(embedded))
    return ip.is_global and not ip.is_multicast


def guard_client(client: Any, policy: EndpointPolicy) -> None:
    """Hold a boto3 client's connections to the policy."""
    if not policy.allow_private:
        # botocore offers no public way to its HTTP session; a test connects for real and fails if this changes.
        guard_connections(client._endpoint.http_session, policy)


def guard_connections(session: URLLib3Session, policy: EndpointPolicy) -> None:
    """Check every connection's host before and its peer after connecting, so that a changing DNS answer gains nothing."""

    class Guarded:
        host: str
        port: int

        def _new_conn(self) -> socket.socket:
            policy.check(self.host, self.port)
            connected: socket.socket = super()._new_conn()  # type: ignore[misc]
            if not policy.allows_host(self.host, self.port):
                try:
                    policy.check_address(self.host, connected.getpeername()[0])
                except BaseException:
                    connected.close()
                    raise
            return connected

    class HTTPConnection(Guarded, AWSHTTPConnection):  # type: ignore[misc]
        pass

    class HTTPSConnection(Guarded, AWSHTTPSConnection):  # type: ignore[misc]
        pass

    class HTTPPool(AWSHTTPConnectionPool):
        ConnectionCls = HTTPConnection

    class HTTPSPool(AWSHTTPSConnectionPool):
        ConnectionCls = HTTPSConnection

    session._pool_classes_by_scheme.update(http=HTTPPool, https=HTTPSPool)  # type: ignore[attr-defined]
