"""The only place that builds boto3 clients: one shared session, a bounded cache, retries, timeouts, endpoint policy.

A boto3 client is safe across threads, a session and a resource are not. A client costs 4 ms and 0.3 MB when it comes
from one shared session, so one client per distinct parameters is kept; after a fork the child starts afresh.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import os
import socket
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.config import Config

from storagedriver.errors import EndpointRefusedError
from storagedriver.parameters import DriverParameters

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

MAX_CLIENTS = 64
MAX_POOL_CONNECTIONS = 64
NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class Timeouts:
    """Seconds to connect and to wait for bytes, and how often a request is tried in all."""

    connect: float = 5.0
    read: float = 60.0
    attempts: int = 4


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


class RequestCounter:
    """S3 requests by operation name, each retry counted. Safe across threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, operation: str) -> None:
        """Count one request."""
        with self._lock:
            self._counts[operation] += 1

    def snapshot(self) -> Counter[str]:
        """Return a copy of the counts."""
        with self._lock:
            return self._counts.copy()


@dataclass(frozen=True)
class Connection:
    """A client and the counter of its requests."""

    client: S3Client
    requests: RequestCounter


class _Cache:
    """The process's session, clients and policy."""

    def __init__(self, policy: EndpointPolicy) -> None:
        self.lock = threading.RLock()
        self.policy = policy
        self.session: boto3.Session | None = None
        self.connections: OrderedDict[tuple[DriverParameters, Timeouts], Connection] = OrderedDict()

    def shared_session(self) -> boto3.Session:
        if self.session is None:
            self.session = boto3.Session()
        return self.session


_cache = _Cache(EndpointPolicy())


def _start_afresh() -> None:
    global _cache
    _cache = _Cache(_cache.policy)


os.register_at_fork(after_in_child=_start_afresh)


def configure(*, policy: EndpointPolicy) -> None:
    """Set the endpoint policy of this process; clients built before are forgotten."""
    global _cache
    _cache = _Cache(policy)


def check_endpoint(parameters: DriverParameters) -> None:
    """Resolve the endpoint, if the policy wants to know, and raise EndpointRefusedError if it is not allowed."""
    if parameters.endpoint_url:
        endpoint = urlsplit(parameters.endpoint_url)
        _cache.policy.check(endpoint.hostname or "", endpoint.port)


def connect(parameters: DriverParameters, timeouts: Timeouts | None = None) -> Connection:
    """Return the shared client for these parameters, building it if need be. Makes no S3 request.

    Raises EndpointRefusedError when the policy does not allow the endpoint.
    """
    timeouts = timeouts or Timeouts()
    cache, key = _cache, (parameters, timeouts)
    with cache.lock:
        if key in cache.connections:
            cache.connections.move_to_end(key)
            return cache.connections[key]
    check_endpoint(parameters)
    with cache.lock:
        if key not in cache.connections:
            cache.connections[key] = _build(cache.shared_session(), parameters, timeouts, cache.policy)
            while len(cache.connections) > MAX_CLIENTS:
                cache.connections.popitem(last=False)
        return cache.connections[key]


def session(parameters: DriverParameters) -> boto3.Session:
    """Return a new session with the parameters' credentials, for code that insists on a boto3 resource."""
    return boto3.Session(**_credentials(parameters), region_name=parameters.region)


def config(parameters: DriverParameters, timeouts: Timeouts | None = None) -> Config:
    """Return botocore's configuration for these parameters."""
    timeouts = timeouts or Timeouts()
    agent = parameters.useragent or None
    appended = parameters.version == "3"  # older registries replace the header
    return Config(
        region_name=parameters.region,
        signature_version="s3v4" if parameters.v4auth else "s3",
        s3={
            "addressing_style": "path" if parameters.addressing_style == "path" else "virtual",
            "use_accelerate_endpoint": parameters.accelerate,
            "us_east_1_regional_endpoint": "regional",
        },
        use_dualstack_endpoint=parameters.usedualstack,
        use_fips_endpoint=parameters.usefipsendpoint,
        connect_timeout=timeouts.connect,
        read_timeout=timeouts.read,
        retries={"mode": "standard", "total_max_attempts": timeouts.attempts},
        max_pool_connections=MAX_POOL_CONNECTIONS,
        tcp_keepalive=True,
        # Many S3 services refuse the checksum trailers that botocore adds by itself.
        request_checksum_calculation="when_supported" if parameters.amazon else "when_required",
        response_checksum_validation="when_supported" if parameters.amazon else "when_required",
        # An AWS_ENDPOINT_URL in the environment must not send a registry's requests elsewhere.
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # the stubs miss it
        user_agent=None if appended else agent,
        user_agent_extra=agent if appended else None,
    )


def _credentials(parameters: DriverParameters) -> dict[str, Any]:
    if parameters.credentials == "chain":
        return {}
    if not (parameters.accesskey and parameters.secretkey):
        # Empty strings would make boto3 fall back to the server's own identity.
        raise ValueError("static credentials need accesskey and secretkey")
    pair = {"aws_access_key_id": parameters.accesskey, "aws_secret_access_key": parameters.secretkey.reveal()}
    if parameters.sessiontoken:
        pair["aws_session_token"] = parameters.sessiontoken.reveal()
    return pair


def _build(
    shared: boto3.Session, parameters: DriverParameters, timeouts: Timeouts, policy: EndpointPolicy
) -> Connection:
    client: S3Client = shared.client(
        "s3",
        use_ssl=parameters.secure,
        verify=False if parameters.skipverify else None,
        endpoint_url=parameters.endpoint_url,
        config=config(parameters, timeouts),
        **_credentials(parameters),
    )
    requests = RequestCounter()
    events = client.meta.events
    events.register("request-created.s3", lambda operation_name, **_: requests.add(operation_name))
    events.register("before-parameter-build.s3", _stay_in_region)
    events.register("before-parameter-build.s3.UploadPart", _leave_parts_unsummed)
    events.register("before-sign.s3.DeleteObjects", _add_content_md5)
    # This wildcard comes before botocore's own check on "before-parse.s3.*", which parses every body whole.
    events.register("before-parse.*.ListObjectsV2", _keep_raw_listing)
    if not policy.allow_private:
        _guard_connections(client, policy)
    return Connection(client, requests)


def _stay_in_region(context: dict[str, Any], **_: object) -> None:
    """Keep botocore from retrying in another region: the registry would not, so its operator must learn of it."""
    context.setdefault("s3_redirect", {})["redirected"] = True


def _leave_parts_unsummed(context: dict[str, Any], **_: object) -> None:
    """Send parts with Content-MD5 only: S3 refuses a CRC on parts of an upload that a registry began without one."""
    context["client_config"] = context["client_config"].merge(Config(request_checksum_calculation="when_required"))


def _add_content_md5(request: Any, **_: object) -> None:
    """Add the Content-MD5 that several S3 services demand for batch deletes."""
    body = request.data if isinstance(request.data, bytes) else str(request.data).encode()
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()


_raw_listing = threading.local()


@contextmanager
def raw_listings() -> Iterator[None]:
    """In this thread, `list_objects_v2` leaves a page unparsed: bytes under "RawBody" of its answer.

    Parsing a page costs botocore some 20 times what `storagedriver.listing` needs; signing and retries stay botocore's.
    """
    _raw_listing.on = True
    try:
        yield
    finally:
        _raw_listing.on = False


def _keep_raw_listing(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    if getattr(_raw_listing, "on", False) and response_dict["status_code"] == 200:
        customized_response_dict["RawBody"] = response_dict["body"]
        response_dict["body"] = b""


def _guard_connections(client: S3Client, policy: EndpointPolicy) -> None:
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

    # botocore offers no public way to its connection classes; a test connects for real and fails if this changes.
    pools = client._endpoint.http_session._pool_classes_by_scheme  # type: ignore[attr-defined]
    pools.update(http=HTTPPool, https=HTTPSPool)
