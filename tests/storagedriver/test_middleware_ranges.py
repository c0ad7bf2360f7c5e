"""AWS's address ranges: parsing, looking up, fetching, and keeping them up to date."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagedriver import clients
from storagedriver.clients import EndpointPolicy
from storagedriver.errors import EndpointRefusedError, Kind, StorageDriverError
from storagedriver.middleware import ranges
from storagedriver.middleware.ranges import RETRY, AddressRanges, AwsAddresses, download
from tests.components import wait_for
from tests.storagedriver.conftest import ScriptedServer, respond

Serve = Callable[[BaseHTTPRequestHandler, int], None]


def document(*networks: str, region: str = "us-east-1") -> bytes:
    """AWS's file with these networks."""
    entries: dict[str, list[dict[str, str]]] = {"prefixes": [], "ipv6_prefixes": []}
    for network in networks:
        family, field = ("ipv6_prefixes", "ipv6_prefix") if ":" in network else ("prefixes", "ip_prefix")
        entries[family].append({field: network, "region": region, "service": "EC2"})
    return json.dumps({"syncToken": "1", **entries}).encode()


def contains(found: AddressRanges, address: str) -> bool:
    return ip_address(address) in found


class TestParse:
    def test_one_address(self) -> None:
        found = AddressRanges.parse(document("123.231.123.231/32"))
        assert (found.count(4), found.count(6)) == (1, 0)

    def test_version_6(self) -> None:
        found = AddressRanges.parse(document("ff00::/16"))
        assert (found.count(4), found.count(6)) == (0, 1)
        assert contains(found, "ff00::")
        assert not contains(found, "fe00::")

    @pytest.mark.parametrize("regions", [(), ("us-east-1",), ("us-west-2", "US-East-1")])
    def test_a_network_of_a_wanted_region(self, regions: tuple[str, ...]) -> None:
        found = AddressRanges.parse(document("192.168.0.0/24"), regions)
        assert contains(found, "192.168.0.0")
        assert contains(found, "192.168.0.1")
        assert contains(found, "192.168.0.255")
        assert not contains(found, "192.169.0.0")

    def test_a_network_of_another_region(self) -> None:
        found = AddressRanges.parse(document("192.168.0.0/24"), ["us-west-2"])
        assert found.count(4) == 0
        assert not contains(found, "192.168.0.0")

    def test_what_is_no_network_is_left_out(self) -> None:
        found = AddressRanges.parse(document("9000", "192.168.0.0/24", ""))
        assert found.count(4) == 1

    def test_host_bits_do_not_matter(self) -> None:
        assert contains(AddressRanges.parse(document("192.168.0.7/24")), "192.168.0.1")

    @pytest.mark.parametrize(
        "body",
        [
            b"ok",
            b"",
            b"[]",
            b"7",
            b"\xff",
            b'{"prefixes": [7]}',
            b'{"prefixes": 7}',
            b'{"prefixes": {"a": 1}}',
            b"[" * 10**5,
        ],
    )
    def test_another_document_is_an_error(self, body: bytes) -> None:
        with pytest.raises(ValueError, match=r"document|Expecting|decode"):
            AddressRanges.parse(body)

    def test_a_document_without_networks_is_empty(self) -> None:
        assert AddressRanges.parse(b'{"prefixes": null}').count(4) == 0


class TestLookUp:
    def test_nested_and_adjacent_networks_are_one_range(self) -> None:
        found = AddressRanges(map(ip_network, ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8", "13.0.0.0/8"]))
        assert found.count(4) == 2
        assert [contains(found, f"{first}.2.3.4") for first in (9, 10, 11, 12, 13, 14)] == [0, 1, 1, 0, 1, 0]

    def test_an_ipv4_address_within_ipv6_is_the_ipv4_address(self) -> None:
        assert contains(AddressRanges([ip_network("192.0.2.0/24")]), "::ffff:192.0.2.1")

    def test_the_families_are_apart(self) -> None:
        assert not contains(AddressRanges([ip_network("0.0.0.0/0")]), "::1")
        assert not contains(AddressRanges([ip_network("::/0")]), "0.0.0.1")

    @given(
        st.lists(
            st.builds(
                lambda at, bits: ip_network((at, bits), strict=False), st.integers(0, 2**32 - 1), st.integers(20, 32)
            )
        ),
        st.integers(0, 2**32 - 1),
    )
    def test_it_agrees_with_a_search_one_by_one(self, networks: list[ranges.Network], at: int) -> None:
        found = AddressRanges(networks)
        for number in [at, *(int(network[0]) for network in networks), *(int(network[-1]) for network in networks)]:
            for near in (number - 1, number, number + 1):
                if 0 <= near < 2**32:
                    address = IPv4Address(near)
                    assert (address in found) == any(address in network for network in networks)

    def test_a_look_up_among_many_compares_few(self) -> None:
        """Bisection: of 2,000 networks a look-up touches a handful."""
        pick = random.Random(7)
        networks = [ip_network(pick.getrandbits(32)) for _ in range(1000)]
        found = AddressRanges([*networks, *(ip_network((pick.getrandbits(128), 128)) for _ in range(1000))])
        touched = []

        class Watched(list[int]):
            def __getitem__(self, index: Any) -> Any:
                touched.append(index)
                return super().__getitem__(index)

        found._spans = {version: (Watched(firsts), Watched(lasts)) for version, (firsts, lasts) in found._spans.items()}
        assert networks[500][0] in found
        assert IPv6Address(0) not in found
        assert 0 < len(touched) < 30


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Fetches what a test says, and knows how often it was asked. None is a failure."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.fetched = 0

    def __call__(self, url: str) -> bytes:
        self.fetched += 1
        if self.answer is None:
            raise StorageDriverError("the line is down")
        return self.answer


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let background fetches happen before the question is answered: the next one then sees their result."""

    class Now(threading.Thread):
        def start(self) -> None:
            self.run()

    monkeypatch.setattr(ranges, "Thread", Now)


class TestKeepingUpToDate:
    inside = document("192.168.1.0/24")

    def addresses(self, source: Source, clock: Clock | None = None, frequency: float = 3600) -> AwsAddresses:
        return AwsAddresses(fetch=source, clock=clock or Clock(), frequency=timedelta(seconds=frequency))

    def test_nothing_is_fetched_before_the_first_question(self) -> None:
        source = Source(self.inside)
        assert not self.addresses(source).initialised
        assert source.fetched == 0

    def test_the_list_is_fetched_once_while_it_is_fresh(self) -> None:
        source = Source(self.inside)
        addresses = self.addresses(source)
        assert ["192.168.1.2" in addresses for _ in range(3)] == [True] * 3
        assert source.fetched == 1

    @pytest.mark.parametrize("address", ["", "192.168.1", "localhost", "192.168.1.2:80", "x" * 10**5])
    def test_what_is_no_address_is_not_inside(self, address: str) -> None:
        assert address not in self.addresses(Source(self.inside))

    def test_a_zone_and_blanks_do_not_matter(self) -> None:
        addresses = self.addresses(Source(document("fe80::/10", "192.168.1.0/24")))
        assert "fe80::1%eth0" in addresses
        assert " 192.168.1.2 " in addresses

    @pytest.mark.parametrize("answer", [None, b"ok", b'{"prefixes": 7}', b"[" * 10**5])
    def test_before_the_first_list_nobody_is_inside(self, answer: bytes | None) -> None:
        addresses = self.addresses(Source(answer))
        assert "192.168.1.2" not in addresses
        assert not addresses.initialised

    def test_it_is_fetched_again_at_every_interval(self) -> None:
        source, clock = Source(b"ok"), Clock()
        addresses = self.addresses(source, clock, frequency=1)
        for _ in range(10):
            assert "192.168.1.2" not in addresses
            clock.now += 0.5
        assert source.fetched == 5

    @pytest.mark.parametrize("answer", [None, b"ok"])
    def test_a_later_failure_keeps_the_old_list(self, answer: bytes | None) -> None:
        source, clock = Source(self.inside), Clock()
        addresses = self.addresses(source, clock)
        assert "192.168.1.2" in addresses
        source.answer, clock.now = answer, clock.now + 3601
        assert "192.168.1.2" in addresses
        assert source.fetched == 2

    def test_a_newer_list_replaces_the_old_one(self) -> None:
        source, clock = Source(self.inside), Clock()
        addresses = self.addresses(source, clock)
        assert "192.168.1.2" in addresses
        source.answer, clock.now = document("10.0.0.0/8"), clock.now + 3601
        assert ["10.0.0.1" in addresses, "192.168.1.2" in addresses] == [True, False]

    def test_a_failure_is_repeated_before_a_long_interval_ends(self) -> None:
        source, clock = Source(None), Clock()
        addresses = self.addresses(source, clock)
        assert "192.168.1.2" not in addresses
        source.answer, clock.now = self.inside, clock.now + RETRY.total_seconds()
        assert "192.168.1.2" in addresses


def test_a_question_does_not_wait_for_the_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    release = threading.Event()

    def fetch(url: str) -> bytes:
        release.wait(60)
        return document("192.168.1.0/24")

    addresses = AwsAddresses(fetch=fetch)
    assert "192.168.1.2" not in addresses
    release.set()
    wait_for(lambda: "192.168.1.2" in addresses, "the first list")


def test_the_fetching_thread_does_not_keep_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    started, release = threading.Event(), threading.Event()

    def fetch(url: str) -> bytes:
        started.set()
        release.wait(60)
        return b"{}"

    assert "192.168.1.2" not in AwsAddresses(fetch=fetch)
    assert started.wait(60)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "aws-address-ranges")
    release.set()
    assert thread.daemon
    thread.join()


def test_a_fork_during_a_fetch_loses_only_that_fetch() -> None:
    clock = Clock()
    addresses = AwsAddresses(fetch=Source(document("192.168.1.0/24")), clock=clock)
    addresses._due = clock.now + RETRY.total_seconds()  # as a fetch in the parent leaves it
    child = os.fork()
    if child == 0:
        clock.now += RETRY.total_seconds()
        os._exit(0 if "192.168.1.2" in addresses else 1)
    assert os.waitpid(child, 0)[1] == 0


class TestDownload:
    @pytest.fixture(autouse=True)
    def any_policy(self) -> Iterator[None]:
        policy = clients._cache.policy
        clients.configure(policy=EndpointPolicy())
        yield
        clients.configure(policy=policy)

    @pytest.fixture
    def serve(self, scripted: Callable[[Serve], ScriptedServer]) -> Callable[..., str]:
        def start(status: int, body: bytes, length: int | None = None, **headers: str) -> str:
            return scripted(lambda handler, number: respond(handler, status, body, length, **headers)).endpoint

        return start

    def test_it_returns_the_document(self, serve: Callable[..., str]) -> None:
        assert download(f"{serve(200, b'{}')}/ip-ranges.json") == b"{}"

    def test_an_error_page_is_shown(self, serve: Callable[..., str]) -> None:
        with pytest.raises(StorageDriverError, match=r"failed to fetch network data\. response = out of order"):
            download(serve(503, b"out of order"))

    def test_redirects_are_not_followed(self, serve: Callable[..., str]) -> None:
        with pytest.raises(StorageDriverError, match="response = elsewhere"):
            download(serve(302, b"elsewhere", Location=serve(200, b"secret")))

    def test_a_document_without_end_is_refused(
        self, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ranges, "MAX_DOCUMENT_BYTES", 1000)
        with pytest.raises(StorageDriverError, match="too large or too slow"):
            download(serve(200, bytes(1001)))

    def test_a_slow_document_is_given_up(self, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ranges, "FETCH_SECONDS", -1)
        with pytest.raises(StorageDriverError, match="too large or too slow"):
            download(serve(200, b"{}"))

    def test_nobody_there_is_transient(self) -> None:
        with pytest.raises(StorageDriverError, match="failed to fetch network data from http://127") as caught:
            download("http://127.0.0.1:1/")
        assert caught.value.kind is Kind.TRANSIENT

    def test_the_endpoint_policy_holds(self, serve: Callable[..., str]) -> None:
        clients.configure(policy=EndpointPolicy(allow_private=False))
        with pytest.raises(EndpointRefusedError):
            download(serve(200, b"{}"))
