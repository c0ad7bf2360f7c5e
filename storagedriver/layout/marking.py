"""Which content a registry still needs: the marking behind the ledger and behind every collection.

Marking is per repository, because a registry serves a manifest only from a repository that has its revision; blobs are
shared, so what one repository needs is needed. In a repository the roots are its tags, and what is live makes live:

* all that a live manifest names, through indexes to any depth;
* every revision whose `subject` is live: signatures, SBOMs and attestations stay as long as their image. Where the
  repository does not have the subject itself, the subject being live in any other repository is enough.

A manifest that exists but could not be read may need, or be needed by, anything in its repository. All of that
repository is then live: what could not be read must never lead to a deletion.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass, field
from itertools import chain

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
    """Sort `blobs`, the digests of all listed blobs, by who needs them.

    `manifests` has every manifest that could be read. A revision, tag or child of an index that is in `blobs` but not in
    `manifests` is one that could not be. What is in neither is gone, and needs nothing any more.
    """
    existing = blobs if isinstance(blobs, Set) else frozenset(blobs)
    graph = _Graph(repositories, manifests)
    tagged = [(name, digest) for name, links in repositories.items() for digest in links.tags.values()]
    revisions = [(name, digest) for name, links in repositories.items() for digest in links.revisions]

    needed = graph.walk(tagged + revisions)
    unreadable = {
        name: found
        for name, digests in needed.items()
        if (found := {digest for digest in graph.expected(name, digests) if digest in existing} - manifests.keys())
    }
    held = [(name, digest) for name in unreadable for digest in needed[name] | repositories[name].layers]
    by_tags = graph.walk(tagged + held)

    reachable = existing & set().union(*by_tags.values())
    untagged = (existing & set().union(*needed.values())) - reachable
    return Marks(
        reachable=set(reachable),
        untagged=set(untagged),
        unreferenced=set(existing - reachable - untagged),
        needed_by_tags=by_tags,
        needed_by_untagged={name: digests - by_tags[name] for name, digests in needed.items()},
        unreadable=unreadable,
    )


class _Graph:
    """Nodes are (repository, digest); an edge leads to what becomes live with it."""

    def __init__(self, repositories: Mapping[str, RepositoryLinks], manifests: Mapping[str, References]) -> None:
        self._repositories = repositories
        self._manifests = manifests
        self._referrers: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._referrers_elsewhere: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for name, links in repositories.items():
            for digest in links.revisions:
                references = manifests.get(digest)
                if references is None or references.subject is None:
                    continue
                if references.subject in links.revisions:
                    self._referrers[name, references.subject].append(digest)
                else:
                    self._referrers_elsewhere[references.subject].append((name, digest))

    def walk(self, roots: list[tuple[str, str]]) -> dict[str, set[str]]:
        """Repository -> every digest that the roots make live in it."""
        live: dict[str, set[str]] = {name: set() for name in self._repositories}
        pending = roots
        while pending:
            name, digest = pending.pop()
            if digest not in live[name]:
                live[name].add(digest)
                pending.extend(self._edges(name, digest))
        return live

    def expected(self, name: str, digests: Set[str]) -> Iterator[str]:
        """Those digests of a repository that should be manifests: revisions, tags, and children of an index."""
        links = self._repositories[name]
        yield from links.revisions
        yield from links.tags.values()
        for digest in digests:
            if references := self._manifests.get(digest):
                yield from references.children

    def _edges(self, name: str, digest: str) -> Iterator[tuple[str, str]]:
        # A layer that is a manifest elsewhere is followed too: rather keep too much.
        if references := self._manifests.get(digest):
            for part in chain(references.content, references.children):
                yield name, part
        for signature in self._repositories[name].signatures.get(digest, ()):
            yield name, signature
        for referrer in self._referrers.get((name, digest), ()):
            yield name, referrer
        yield from self._referrers_elsewhere.get(digest, ())
