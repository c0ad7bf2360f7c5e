"""Which content a registry still needs: the marking behind the ledger and behind every collection.

Marking is per repository, because a registry serves a manifest only from a repository that has its revision; blobs are
shared, so what one repository needs is needed. In a repository the roots are its tags, and what is live makes live:

* all that a live manifest names, through indexes to any depth;
* every revision whose `subject` is live: signatures, SBOMs and attestations stay as long as their image. Where the
  repository does not have the subject itself, the subject being live in any other repository is enough.

A manifest that exists but could not be read may need, or be needed by, anything in its repository. So may a tag. All
that such a repository links is live: what could not be read must never lead to a deletion.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field

from .manifests import ParsedManifest


@dataclass(frozen=True, slots=True)
class References:
    """The digests that one manifest names. Content-addressed, so it may be kept for ever."""

    content: tuple[str, ...] = ()
    """Config and layers."""
    children: tuple[str, ...] = ()
    """Manifests of an index."""
    subject: str | None = None

    @classmethod
    def of(cls, manifest: ParsedManifest) -> References:
        parts = [manifest.config] if manifest.config else []
        return cls(
            content=tuple(part.digest for part in (*parts, *manifest.layers)),
            children=tuple(child.digest for child in manifest.children),
            subject=manifest.subject.digest if manifest.subject else None,
        )


@dataclass(frozen=True, slots=True)
class RepositoryLinks:
    """What the links of one repository say; digests throughout."""

    tags: Mapping[str, str] = field(default_factory=dict)
    """Tag -> the digest that it points at."""
    revisions: Set[str] = frozenset()
    layers: Set[str] = frozenset()
    signatures: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Schema 1 revision -> its signature blobs (registries up to 2.4)."""
    incomplete: bool = False
    """A tag's link, or part of the listing, could not be read: all of the repository counts as needed by tags."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Who needs what."""

    reachable: set[str]
    """Blobs that something tagged needs."""
    untagged: set[str]
    """Blobs that only untagged revisions need."""
    unreferenced: set[str]
    """Blobs that nothing needs."""
    needed_by_tags: dict[str, set[str]]
    """Repository -> revisions, layers and configs that its tags need."""
    needed_by_untagged: dict[str, set[str]]
    """Repository -> what its untagged revisions need beside that, themselves included. A link to what is in neither
    set is of no use."""
    unreadable: dict[str, set[str]]
    """Repository -> the manifests that could not be read, because of which all of it counts as needed by tags."""


def mark(
    repositories: Mapping[str, RepositoryLinks], manifests: Mapping[str, References], blobs: Collection[str]
) -> Marks:
    """Sort `blobs`, the digests of all listed blobs (or a mapping by them), by who needs them.

    `manifests` has every manifest that could be read. A revision, tag or child of an index that is in `blobs` but not in
    `manifests` is one that could not be. What is in neither is gone, and needs nothing any more.
    """
    existing: Set[str] = blobs.keys() if isinstance(blobs, Mapping) else frozenset(blobs)
    graph = _Graph(repositories, manifests, existing)
    held = None
    while held != graph.unreadable.keys():  # walking may come upon more of them, in indexes
        held = set(graph.unreadable)
        by_tags = graph.walk(
            {
                name: [
                    *links.tags.values(),
                    *(links.revisions | links.layers if links.incomplete or name in held else ()),
                ]
                for name, links in repositories.items()
            }
        )
        by_untagged = graph.walk({name: links.revisions for name, links in repositories.items()}, by_tags)

    reachable: set[str] = set()
    for digests in by_tags.values():
        reachable |= digests & existing
    untagged: set[str] = set()
    for digests in by_untagged.values():
        untagged |= digests & existing
    untagged -= reachable
    return Marks(
        reachable=reachable,
        untagged=untagged,
        unreferenced={digest for digest in existing if digest not in reachable and digest not in untagged},
        needed_by_tags=by_tags,
        needed_by_untagged=by_untagged,
        unreadable=graph.unreadable,
    )


class _Graph:
    """Leads from a digest in a repository to what lives with it. `unreadable` grows as manifests are come upon."""

    def __init__(
        self, repositories: Mapping[str, RepositoryLinks], manifests: Mapping[str, References], existing: Set[str]
    ) -> None:
        self._repositories = repositories
        self._manifests = manifests
        self._existing = existing
        self._referrers: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._referrers_elsewhere: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._subjects: set[str] = set()
        self.unreadable: dict[str, set[str]] = {}
        for name, links in repositories.items():
            self._expect_manifests(name, links.tags.values())
            self._expect_manifests(name, links.revisions)
            for digest in links.revisions:
                references = manifests.get(digest)
                if references is None or references.subject is None:
                    continue
                self._subjects.add(references.subject)
                if references.subject in links.revisions:
                    self._referrers[name, references.subject].append(digest)
                else:
                    self._referrers_elsewhere[references.subject].append((name, digest))

    def walk(
        self, roots: Mapping[str, Iterable[str]], known: Mapping[str, Set[str]] | None = None
    ) -> dict[str, set[str]]:
        """Repository -> every digest that `roots` lead to in it, `known` ones and what only they lead to left out."""
        found: dict[str, set[str]] = {name: set() for name in self._repositories}
        pending = [(name, list(digests)) for name, digests in roots.items()]
        while pending:
            name, digests = pending.pop()
            seen, skip = found[name], known[name] if known else frozenset[str]()
            signatures = self._repositories[name].signatures
            while digests:
                digest = digests.pop()
                if digest in seen or digest in skip:
                    continue
                seen.add(digest)
                # A layer that is a manifest elsewhere is followed too: rather keep too much.
                if references := self._manifests.get(digest):
                    digests += references.content
                    digests += references.children
                    self._expect_manifests(name, references.children)
                if digest in self._subjects:
                    digests += self._referrers.get((name, digest), ())
                    pending += [(other, [referrer]) for other, referrer in self._referrers_elsewhere.get(digest, ())]
                if signatures:
                    digests += signatures.get(digest, ())
        return found

    def _expect_manifests(self, name: str, digests: Iterable[str]) -> None:
        for digest in digests:
            if digest not in self._manifests and digest in self._existing:
                self.unreadable.setdefault(name, set()).add(digest)
