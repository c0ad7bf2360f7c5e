"""Which addresses belong to AWS: the published ranges, kept up to date and searched by bisection.

Format of the document: https://docs.aws.amazon.com/vpc/latest/userguide/aws-ip-syntax.html
"""

from __future__ import annotations

import functools
import json
import logging
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import accumulate
from threading import Thread
from typing import Any

from botocore.awsrequest import AWSRequest

from storagedriver import clients
from storagedriver.errors import S3_FAILURES, Kind, StorageDriverError

logger = logging.getLogger(__name__)

IP_RANGES_URL = "https://ip-ranges.amazonaws.com/ip-ranges.json"
MAX_DOCUMENT_BYTES = 32 * 2**20  # the real one has about 2 MiB
FETCH_SECONDS = 60.0
RETRY = timedelta(minutes=5)
_TIMEOUTS = clients.Timeouts(connect=5, read=10)
_FAMILIES = (("prefixes", "ip_prefix"), ("ipv6_prefixes", "ipv6_prefix"))

Fetch = Callable[[str], bytes]
Network = IPv4Network | IPv6Network


class AddressRanges:
    """An immutable set of IPv4 and IPv6 networks; a lookup is one bisection, whatever their number."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        by_version: dict[int, list[Network]] = {4: [], 6: []}
        for network in networks:
            by_version[network.version].append(network)
        self._spans = {version: _merge(found) for version, found in by_version.items()}

    @classmethod
    def parse(cls, document: bytes, regions: Iterable[str] = ()) -> AddressRanges:
        """Read AWS's ip-ranges.json, of every service; only the named regions if any is named, in any case.

        An entry that is no network is left out with a log line. Raises ValueError when the document is another one.
        """
        try:
            ranges = json.loads(document)
        except RecursionError:
            raise ValueError("the document is nested too deeply") from None
        families: list[Any] = (
            [ranges.get(family) or [] for family, _field in _FAMILIES] if isinstance(ranges, dict) else [None]
        )
        if not all(
            isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries) for entries in families
        ):
            raise ValueError("the document is no list of address ranges")
        wanted = {region.casefold() for region in regions}
        networks: list[Network] = []
        for entries, (_family, field) in zip(families, _FAMILIES, strict=True):
            for entry in entries:
                if wanted and str(entry.get("region", "")).casefold() not in wanted:
                    continue
                try:
                    networks.append(ip_network(str(entry.get(field, "")), strict=False))
                except ValueError as error:
                    logger.warning("left out of the AWS address ranges: %s", error)
        return cls(networks)

    def count(self, version: int) -> int:
        """Return the number of separate ranges of IP version 4 or 6, adjacent and nested networks merged."""
        return len(self._spans[version][0])

    def __contains__(self, address: IPv4Address | IPv6Address) -> bool:
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        firsts, lasts = self._spans[address.version]
        index = bisect_right(firsts, int(address)) - 1
        return index >= 0 and int(address) <= lasts[index]


def _merge(networks: list[Network]) -> tuple[list[int], list[int]]:
    """Return the first and the last addresses of disjoint ranges in order."""
    spans = sorted((int(network.network_address), int(network.broadcast_address)) for network in networks)
    reach = list(accumulate((last for _first, last in spans), max))
    starts = [index for index in range(len(spans)) if index == 0 or spans[index][0] > reach[index - 1] + 1]
    ends = [*(start - 1 for start in starts[1:]), len(spans) - 1]
    return [spans[start][0] for start in starts], [reach[end] for end in ends] if spans else []


def download(url: str) -> bytes:
    """Fetch a document under the endpoint policy, without following redirects. Raises StorageDriverError."""
    deadline = time.monotonic() + FETCH_SECONDS
    try:
        session = clients.http_session(url, _TIMEOUTS)
        try:
            answer = session.send(AWSRequest("GET", url, stream_output=True).prepare())
            body = bytearray()
            for piece in answer.raw.stream(2**16):
                body += piece
                if len(body) > MAX_DOCUMENT_BYTES or time.monotonic() > deadline:
                    raise StorageDriverError(f"{url} is too large or too slow to be a list of address ranges")
        finally:
            session.close()
    except S3_FAILURES as error:
        raise StorageDriverError(f"failed to fetch network data from {url}: {error}", kind=Kind.TRANSIENT) from error
    if answer.status_code != 200:
        text = bytes(body[:500]).decode(errors="replace")
        raise StorageDriverError(f"failed to fetch network data. response = {text}", status=answer.status_code)
    return bytes(body)


class AwsAddresses:
    """AWS's address ranges as of the last good fetch. Nothing is fetched before the first question.

    A question never waits: when the list is older than `frequency`, a daemon thread fetches another one and the answer
    comes from the present list. A failed fetch is logged, keeps that list, and is repeated after RETRY at the latest.
    Safe across threads and forks: no lock is held, and a fetch that a fork lost is repeated after RETRY too.
    """

    def __init__(
        self,
        url: str = IP_RANGES_URL,
        *,
        regions: Iterable[str] = (),
        frequency: timedelta = timedelta(hours=12),
        fetch: Fetch = download,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self.regions = tuple(regions)
        self.frequency = frequency
        self._fetch = fetch
        self._clock = clock
        self._due = float("-inf")
        self._ranges: AddressRanges | None = None

    @property
    def initialised(self) -> bool:
        """Say whether any fetch has succeeded."""
        return self._ranges is not None

    def __contains__(self, address: str) -> bool:
        """Say whether text names an address of AWS; what is no address, or asked before the first list, is not."""
        now = self._clock()
        if now >= self._due:
            # Two threads may come here at once; both then fetch the same list, which does no harm.
            self._due = now + min(self.frequency, RETRY).total_seconds()
            Thread(target=self.refresh, name="aws-address-ranges", daemon=True).start()
        ranges = self._ranges
        if ranges is None:
            return False
        try:
            return ip_address(address.strip()) in ranges
        except ValueError:
            return False

    def refresh(self) -> bool:
        """Fetch the list now. Returns False, with a log line, when that failed and the present list stays."""
        try:
            self._ranges = AddressRanges.parse(self._fetch(self.url), self.regions)
        except (StorageDriverError, ValueError) as error:
            logger.warning("the AWS address ranges were not updated: %s", error)
            return False
        self._due = self._clock() + self.frequency.total_seconds()
        return True


@functools.lru_cache(maxsize=16)
def shared_addresses(url: str, regions: tuple[str, ...], frequency: timedelta, fetch: Fetch = download) -> AwsAddresses:
    """Return the process's one list for these options, however many middlewares ask for it."""
    return AwsAddresses(url, regions=regions, frequency=frequency, fetch=fetch)
