"""The ledger as a bar and its table: every listed byte in exactly one class, in a fixed order and colour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# name in the ledger -> title, meaning, colour class
CLASSES: Mapping[str, tuple[str, str, str]] = {
    "reachable": ("Reachable", "Needed by a tag, directly or through an index.", "reachable"),
    "untagged": ("Untagged", "Needed only by manifests that no tag reaches.", "untagged"),
    "unreferenced": ("Unreferenced", "Blobs that no manifest names.", "unreferenced"),
    "links": ("Links", "The registry's own small files: tags, revisions, layer links.", "links"),
    "uploads": ("Uploads", "Data of uploads that have not ended.", "uploads"),
    "multipart": (
        "Multipart parts",
        "Parts that S3 keeps for unfinished uploads; listings of objects hide them.",
        "uploads",
    ),
    "old_versions": ("Old versions", "Versions that a versioned bucket still keeps.", "old"),
    "quarantine": ("Quarantine", "Removed, waiting for the end of their undo window.", "quarantine"),
    "unknown": ("Unknown", "Objects that no registry writes.", "unknown"),
}
BAR_WIDTH = 1000.0


@dataclass(frozen=True)
class Segment:
    """A class of the ledger. `start` and `width` are in units of BAR_WIDTH for the whole; `share` is 0 to 1."""

    title: str
    meaning: str
    colour: str
    bytes: int
    share: float
    start: float
    width: float

    @property
    def percent(self) -> str:
        """The share in words: "43 %", "< 1 %"."""
        return "< 1 %" if 0 < self.share < 0.01 else f"{self.share * 100:.0f} %"


def segments(ledger: Mapping[str, int]) -> list[Segment]:
    """Return the classes that hold bytes, in their order; one that is not known here counts at the end."""
    total = sum(ledger.values())
    found: list[Segment] = []
    start = 0.0
    for name in (*CLASSES, *(name for name in ledger if name not in CLASSES)):
        size = ledger.get(name, 0)
        if size > 0:
            title, meaning, colour = CLASSES.get(name, (name.replace("_", " ").capitalize(), "", "unknown"))
            width = BAR_WIDTH * size / total
            found.append(Segment(title, meaning, colour, size, size / total, start, width))
            start += width
    return found
