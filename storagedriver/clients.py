"""The only place that builds boto3 clients: one shared session, a bounded cache, retries, timeouts, endpoint policy.

A boto3 client is safe across threads, a session and a resource are not. A client costs 5 ms and 0.5 MB when its session
shares a loader, so one client per distinct parameters is kept; after a fork the child starts afresh. A driver works
through a view of such a client: the same connections and retry budget, but request count and events of its own.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.httpsession import URLLib3Session
from botocore.loaders import Loader
from botocore.utils import get_environ_proxies

from storagedriver import credentials
from storagedriver.endpoints import EndpointPolicy as EndpointPolicy
from storagedriver.endpoints import guard_client, guard_connections
from storagedriver.parameters import DriverParameters
from storagedriver.severing import sever as sever_session
from storagedriver.severing import track_connections

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

MAX_CLIENTS = 64
MAX_POOL_CONNECTIONS = 64


@dataclass(frozen=True)
class Timeouts:
    """Seconds to connect and to wait for bytes, and how often a request is tried in all.

    Retries back off exponentially and draw on a budget that all drivers of equal parameters share, so an S3 in distress
    is not asked ever more. `retries="adaptive"` also sends fewer requests a second for as long as S3 asks for that.
    """

    connect: float = 5.0
    read: float = 60.0
    attempts: int = 4
    retries: Literal["standard", "adaptive"] = "standard"


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


class _Cache:
    """The process's session, clients and policy."""

    def __init__(self, policy: EndpointPolicy) -> None:
        self.lock = threading.RLock()
        self.policy = policy
        self.loader = Loader(include_default_search_paths=True)  # keeps parsed service models: sessions become cheap
        self.clients: OrderedDict[tuple[DriverParameters, Timeouts], S3Client] = OrderedDict()


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
    for url in filter(None, (parameters.endpoint_url, parameters.sts_url)):
        endpoint = urlsplit(url)
        _cache.policy.check(endpoint.hostname or "", endpoint.port)


def connect(parameters: DriverParameters, timeouts: Timeouts | None = None) -> S3Client:
    """Return the shared client for these parameters, building it if need be. Makes no S3 request.

    Raises EndpointRefusedError when the policy does not allow the endpoint, and botocore's errors for credentials that
    this server does not have.
    """
    timeouts = timeouts or Timeouts()
    cache, key = _cache, (parameters, timeouts)
    with cache.lock:
        if key in cache.clients:
            cache.clients.move_to_end(key)
            return cache.clients[key]
    check_endpoint(parameters)
    with cache.lock:
        if key not in cache.clients:
            cache.clients[key] = _build(cache.loader, parameters, timeouts, cache.policy)
            while len(cache.clients) > MAX_CLIENTS:
                cache.clients.popitem(last=False)
        return cache.clients[key]


def view(client: S3Client, requests: RequestCounter) -> S3Client:
    """Return a client on the connections of another, which counts its own requests and keeps event handlers to itself."""
    own: Any = object.__new__(type(client))
    own.__dict__.update(client.__dict__)
    # botocore offers no public way to give a client other events; a test counts requests and fails if this changes.
    own.meta, own._endpoint = copy.copy(client.meta), copy.copy(client._endpoint)  # type: ignore[attr-defined]
    own.meta.events = own._endpoint._event_emitter = copy.copy(client.meta.events)
    own.meta.events.register("request-created.s3", lambda operation_name, **_: requests.add(operation_name))
    viewed: S3Client = own
    return viewed


def sever(client: S3Client) -> int:
    """Cut the connections that requests of this client, and of all that share them, now wait on; return their number."""
    return sever_session(client._endpoint.http_session)  # type: ignore[attr-defined]


def session(parameters: DriverParameters) -> boto3.Session:
    """Return a new session with the parameters' credentials, for code that insists on a boto3 resource."""
    return credentials.session(parameters, _cache.loader, _cache.policy)


def http_session(url: str, timeouts: Timeouts | None = None) -> URLLib3Session:
    """Return a new HTTP session for a document that is not in S3, under the same endpoint policy and proxies.

    The caller closes it. Raises EndpointRefusedError when the policy does not allow the host.
    """
    timeouts, policy, address = timeouts or Timeouts(), _cache.policy, urlsplit(url)
    policy.check(address.hostname or "", address.port)
    limits: Any = (timeouts.connect, timeouts.read)  # the stubs know one number only
    session = URLLib3Session(proxies=get_environ_proxies(url), timeout=limits)
    if not policy.allow_private:
        guard_connections(session, policy)
    return session


def config(parameters: DriverParameters, timeouts: Timeouts | None = None) -> Config:
    """Return botocore's configuration for these parameters."""
    timeouts = timeouts or Timeouts()
    agent = parameters.useragent or None
    own_endpoint = bool(parameters.regionendpoint)  # given, so the flags that would choose another one do not apply
    appended = parameters.version == "3"  # older registries replace the header
    return Config(
        region_name=parameters.region,
        signature_version="s3v4" if parameters.v4auth else "s3",
        s3={
            "addressing_style": "path" if parameters.addressing_style == "path" else "virtual",
            "use_accelerate_endpoint": parameters.accelerate and not own_endpoint,
            "us_east_1_regional_endpoint": "regional",
        },
        use_dualstack_endpoint=parameters.usedualstack and not own_endpoint,
        use_fips_endpoint=parameters.usefipsendpoint and not own_endpoint,
        connect_timeout=timeouts.connect,
        read_timeout=timeouts.read,
        retries={"mode": timeouts.retries, "total_max_attempts": timeouts.attempts},
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


def _build(loader: Loader, parameters: DriverParameters, timeouts: Timeouts, policy: EndpointPolicy) -> S3Client:
    client: S3Client = credentials.session(parameters, loader, policy).client(
        "s3",
        use_ssl=parameters.secure,
        verify=False if parameters.skipverify else None,
        endpoint_url=parameters.endpoint_url,
        config=config(parameters, timeouts),
    )
    events = client.meta.events
    events.register("before-parameter-build.s3", _stay_in_region)
    events.register("before-parameter-build.s3.UploadPart", _leave_parts_unsummed)
    events.register("before-sign.s3.DeleteObjects", _add_content_md5)
    # This wildcard comes before botocore's own check on "before-parse.s3.*", which parses every body whole.
    events.register("before-parse.*.ListObjectsV2", _keep_raw_listing)
    events.register("before-parse.*.ListObjectVersions", _keep_raw_listing)
    guard_client(client, policy)
    track_connections(client._endpoint.http_session)  # type: ignore[attr-defined]  # as in guard_client
    return client


def _stay_in_region(context: dict[str, Any], **_: object) -> None:
    """Keep botocore from retrying in another region: the registry would not, so its operator must learn of it."""
    context.setdefault("s3_redirect", {})["redirected"] = True


def _leave_parts_unsummed(context: dict[str, Any], **_: object) -> None:
    """Send parts without a checksum trailer: S3 refuses a CRC in an upload that a registry began without one."""
    context["client_config"] = context["client_config"].merge(Config(request_checksum_calculation="when_required"))


def _add_content_md5(request: Any, **_: object) -> None:
    """Add the Content-MD5 that several S3 services demand for batch deletes."""
    body = request.data if isinstance(request.data, bytes) else str(request.data).encode()
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()


_raw_listing = threading.local()


@contextmanager
def raw_listings() -> Iterator[None]:
    """In this thread, `list_objects_v2` and `list_object_versions` leave a page unparsed: bytes under "RawBody".

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
