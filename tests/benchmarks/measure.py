"""Taking and showing measurements."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from storagedriver import DriverParameters, S3Driver
from tests.components.s3 import ACCESS_KEY, REGION, SECRET_KEY

MIB = 2**20
ROUNDS = 3


@dataclass(frozen=True)
class Place:
    """Where the bucket is: an endpoint, and what lies between."""

    name: str
    endpoint: str
    bucket: str

    def driver(self, **parameters: object) -> S3Driver:
        """Return our driver on the bucket."""
        values: dict[str, object] = {
            "accesskey": ACCESS_KEY,
            "secretkey": SECRET_KEY,
            "region": REGION,
            "regionendpoint": self.endpoint,
            "bucket": self.bucket,
            "v4auth": True,
        }
        return S3Driver(DriverParameters.parse(values | parameters, version="3"))


@dataclass(frozen=True)
class Measurement:
    """The best of some rounds: wall-clock and CPU seconds of this process, its server's not counted."""

    seconds: float
    cpu: float


@dataclass
class Comparison:
    """One kind of work done by us (the first row) and by peers. `amount` is how much of `unit` each round does."""

    title: str
    amount: float
    unit: str
    rows: list[tuple[str, Measurement]] = field(default_factory=list)

    def add(self, name: str, work: Callable[[], object], check: Callable[[], object] = lambda: None) -> None:
        """Measure some work `ROUNDS` times; `check` runs after each, unmeasured, and raises if the work was not done."""
        taken = []
        for _ in range(ROUNDS):
            begun, cpu = time.perf_counter(), time.process_time()
            work()
            taken.append(Measurement(time.perf_counter() - begun, time.process_time() - cpu))
            check()
        self.rows.append((name, Measurement(min(one.seconds for one in taken), min(one.cpu for one in taken))))

    def __str__(self) -> str:
        """Return a table in Markdown. A ratio over 1 says how many times more the peer takes than we do."""
        ours = self.rows[0][1]
        lines = [
            f"### {self.title}",
            "",
            f"| | seconds | {self.unit}/s | times ours | CPU ms per {self.unit} | times ours |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        lines += [
            f"| {name} | {taken.seconds:.2f} | {self.amount / taken.seconds:,.1f} | {taken.seconds / ours.seconds:.2f} "
            f"| {1000 * taken.cpu / self.amount:.2f} | {taken.cpu / ours.cpu:.2f} |"
            for name, taken in self.rows
        ]
        return "\n".join(lines)
