"""Sends the parts of one upload side by side, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from storagedriver.uploads import Part


class PartSender:
    """Sends parts with up to `concurrency` threads, and holds at most `held_bytes` of bodies (one, if it is larger).

    `stored` maps the numbers of stored parts to them. A part that failed keeps its body until `drain` sends it again or
    `abandon` forgets it. Used from one thread.
    """

    def __init__(self, send: Callable[[int, bytearray], Part], *, concurrency: int, held_bytes: int) -> None:
        self.stored: dict[int, Part] = {}
        self._send = send
        self._concurrency = concurrency
        self._held_bytes = held_bytes
        self._executor: ThreadPoolExecutor | None = None
        self._running: dict[Future[Part], tuple[int, bytearray]] = {}
        self._unsent: dict[int, bytearray] = {}

    def submit(self, number: int, body: bytearray) -> None:
        """Take a part, waiting for room. Raises what an earlier part failed with; this one is kept for `drain` then."""
        self._unsent[number] = body
        self._collect([future for future in self._running if future.done()])
        while self._running and len(body) + sum(len(held) for _, held in self._running.values()) > self._held_bytes:
            self._collect(wait(self._running, return_when=FIRST_COMPLETED).done)
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._concurrency, thread_name_prefix="upload")
        self._running[self._executor.submit(self._send, number, body)] = (number, self._unsent.pop(number))

    def drain(self) -> None:
        """Store everything taken so far. Raises what a part failed with; may be called again then."""
        for number, body in sorted(self._unsent.items()):
            self.submit(number, body)
        self._collect(wait(self._running).done)

    def resend(self) -> None:
        """Store everything taken if something of it failed before. Raises as `drain` does."""
        if self._unsent:
            self.drain()

    def abandon(self) -> None:
        """Forget what was not sent and wait for what is on its way, so that nothing arrives later; end the threads."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
        self._running.clear()
        self._unsent.clear()

    def _collect(self, done: Iterable[Future[Part]]) -> None:
        failures = []
        for future in done:
            number, body = self._running.pop(future)
            if (failure := future.exception()) is None:
                self.stored[number] = future.result()
            else:
                self._unsent[number] = body
                failures.append(failure)
        if failures:
            raise failures[0]
