"""Digests are single letters here: marking never looks into them. Upper case is a manifest, lower case a blob."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from storagedriver.layout.digests import digest_of
from storagedriver.layout.manifests import Descriptor, ManifestKind, ParsedManifest
from storagedriver.layout.marking import Marks, References, RepositoryLinks, mark


def image(*content: str, subject: str | None = None) -> References:
    return References(content, (), subject)


def index(*children: str) -> References:
    return References((), children)


def repository(revisions: str = "", layers: str = "", **tags: str) -> RepositoryLinks:
    return RepositoryLinks(tags, set(revisions), set(layers))


def classes(marks: Marks) -> tuple[str, str, str]:
    return tuple("".join(sorted(part)) for part in (marks.reachable, marks.untagged, marks.unreferenced))  # type: ignore[return-value]


def test_blobs_fall_into_three_classes() -> None:
    marks = mark(
        {"api": repository("AB", "abcd", latest="A")},
        {"A": image("a", "b"), "B": image("b", "c")},
        set("ABabcd"),
    )
    assert classes(marks) == ("Aab", "Bc", "d")
    assert marks.needed_by_tags == {"api": set("Aab")}
    assert marks.needed_by_untagged == {"api": set("Bc")}
    assert marks.unreadable == {}


def test_an_index_keeps_its_images_at_any_depth() -> None:
    marks = mark(
        {"api": repository("ABC", latest="A")},
        {"A": index("B"), "B": index("C"), "C": image("c")},
        set("ABCc"),
    )
    assert classes(marks) == ("ABCc", "", "")


def test_an_untagged_index_may_go_while_its_tagged_image_stays() -> None:
    marks = mark(
        {"api": repository("ABC", v1="B")},
        {"A": index("B", "C"), "B": image("b"), "C": image("c")},
        set("ABCbc"),
    )
    assert classes(marks) == ("Bb", "ACc", "")


def test_a_cycle_ends() -> None:
    marks = mark({"api": repository("AB", latest="A")}, {"A": index("B"), "B": index("A")}, set("AB"))
    assert classes(marks) == ("AB", "", "")


def test_a_referrer_lives_with_its_subject() -> None:
    manifests = {"A": image("a"), "S": image("s", subject="A"), "T": image("t", subject="S")}
    assert classes(mark({"api": repository("AST", latest="A")}, manifests, set("ASTast"))) == ("ASTast", "", "")


def test_a_referrer_does_not_keep_its_subject() -> None:
    manifests = {"A": image("a"), "S": image("s", subject="A")}
    assert classes(mark({"api": repository("AS", signature="S")}, manifests, set("ASas"))) == ("Ss", "Aa", "")


def test_a_referrer_of_an_image_in_an_index_lives() -> None:
    manifests = {"I": index("A"), "A": image("a"), "S": image("s", subject="A")}
    assert classes(mark({"api": repository("IAS", latest="I")}, manifests, set("IASas"))) == ("AISas", "", "")


def test_a_referrer_beside_an_untagged_copy_of_its_subject_does_not_live() -> None:
    manifests = {"A": image("a"), "S": image("s", subject="A")}
    marks = mark({"one": repository("A", latest="A"), "two": repository("AS")}, manifests, set("ASas"))
    assert classes(marks) == ("Aa", "Ss", "")


def test_a_referrer_kept_in_a_repository_of_its_own_lives() -> None:
    manifests = {"A": image("a"), "S": image("s", subject="A")}
    marks = mark({"one": repository("A", latest="A"), "signatures": repository("S")}, manifests, set("ASas"))
    assert classes(marks) == ("ASas", "", "")
    assert marks.needed_by_tags["signatures"] == set("Ss")


def test_what_one_repository_needs_is_needed() -> None:
    manifests = {"A": image("a"), "B": image("a", "b")}
    marks = mark({"one": repository("B", v1="B"), "two": repository("A")}, manifests, set("ABab"))
    assert classes(marks) == ("Bab", "A", "")
    assert marks.needed_by_untagged["two"] == set("Aa")


def test_a_child_that_is_no_revision_here_keeps_its_layers() -> None:
    manifests = {"I": index("A"), "A": image("a")}
    assert classes(mark({"api": repository("I", latest="I")}, manifests, set("IAa"))) == ("AIa", "", "")


def test_an_unreadable_manifest_keeps_all_that_its_repository_links() -> None:
    marks = mark(
        {"bad": repository("XB", "abc", v1="B"), "good": repository("D", "d")},
        {"B": image("b"), "D": image("d")},
        set("XBDabcde"),
    )
    assert classes(marks) == ("BXabc", "Dd", "e")
    assert marks.unreadable == {"bad": {"X"}}


def test_an_unreadable_image_of_an_index_keeps_all_that_its_repository_links() -> None:
    marks = mark({"api": repository("IB", "ab", v1="I")}, {"I": index("X"), "B": image("b")}, set("IXBabz"))
    assert classes(marks) == ("BIXab", "", "z")
    assert marks.unreadable == {"api": {"X"}}


def test_an_unreadable_tag_keeps_all_that_its_repository_links() -> None:
    marks = mark({"api": repository("", "a", v1="X")}, {}, set("Xa"))
    assert classes(marks) == ("Xa", "", "")


def test_an_unread_tag_keeps_all_that_its_repository_links() -> None:
    links = RepositoryLinks({}, {"A"}, {"a", "b"}, incomplete=True)
    assert classes(mark({"api": links}, {"A": image("a")}, set("Aabc"))) == ("Aab", "", "c")


def test_an_unreadable_image_of_an_index_within_an_index_is_found() -> None:
    """The inner index is no revision here, so that only walking comes upon what it names."""
    marks = mark({"api": repository("I", "a", v1="I")}, {"I": index("J"), "J": index("X")}, set("IJXaz"))
    assert classes(marks) == ("IJXa", "", "z")
    assert marks.unreadable == {"api": {"X"}}


def test_blobs_may_come_with_their_sizes() -> None:
    assert classes(mark({"api": repository("A", v="A")}, {"A": image("a")}, dict.fromkeys("Aab", 1))) == ("Aa", "", "b")


def test_a_manifest_that_is_gone_holds_nothing_back() -> None:
    marks = mark({"api": repository("GB", "ab", v1="G", v2="I")}, {"B": image("b"), "I": index("H")}, set("BIabz"))
    assert classes(marks) == ("I", "Bb", "az")
    assert marks.unreadable == {}


def test_signatures_of_schema_1_live_with_their_revision() -> None:
    links = RepositoryLinks({"v1": "A"}, {"A", "B"}, frozenset(), {"A": ["s"], "B": ["t"]})
    assert classes(mark({"api": links}, {"A": image("a"), "B": image("b")}, set("ABabst"))) == ("Aas", "Bbt", "")


def test_nothing_makes_nothing() -> None:
    assert classes(mark({}, {}, ["a"])) == ("", "", "a")


def test_references_of_a_parsed_manifest() -> None:
    config, layer, child, subject = (Descriptor("", digest_of(name), 1) for name in (b"1", b"2", b"3", b"4"))
    manifest = ParsedManifest(ManifestKind.IMAGE, "", config, (layer,), (child,), subject)
    assert References.of(manifest) == References((config.digest, layer.digest), (child.digest,), subject.digest)


_manifests = st.sampled_from("ABCDEF")
_blobs = st.sampled_from("abcdef")
_references = st.builds(
    References,
    st.lists(_blobs, max_size=3).map(tuple),
    st.lists(_manifests, max_size=3).map(tuple),
    st.none() | _manifests,
)
_repository = st.builds(
    RepositoryLinks,
    st.dictionaries(st.sampled_from(["v1", "v2"]), _manifests),
    st.frozensets(_manifests),
    st.frozensets(_blobs),
)


@given(
    st.dictionaries(st.sampled_from(["one", "two"]), _repository),
    st.dictionaries(_manifests, _references),
    st.frozensets(_manifests | _blobs),
)
def test_nothing_a_tag_leads_to_is_ever_given_up(
    repositories: dict[str, RepositoryLinks], manifests: dict[str, References], blobs: frozenset[str]
) -> None:
    marks = mark(repositories, manifests, blobs)
    assert marks.reachable | marks.untagged | marks.unreferenced == blobs
    assert not marks.reachable & marks.untagged
    assert not (marks.reachable | marks.untagged) & marks.unreferenced

    def pull(digest: str, seen: set[str]) -> None:
        if digest in seen:
            return
        seen.add(digest)
        assert digest not in blobs or digest in marks.reachable
        if references := manifests.get(digest):
            for part in (*references.content, *references.children):
                pull(part, seen)

    for links in repositories.values():
        for digest in links.tags.values():
            pull(digest, set())


@given(
    st.dictionaries(st.sampled_from(["one", "two"]), _repository),
    st.dictionaries(_manifests, _references),
    st.frozensets(_manifests | _blobs),
    _manifests,
)
def test_reading_less_never_gives_up_more(
    repositories: dict[str, RepositoryLinks], manifests: dict[str, References], blobs: frozenset[str], lost: str
) -> None:
    """A manifest that cannot be read must not cost anything that is linked where it is."""
    known = mark(repositories, manifests, blobs)
    blind = mark(repositories, {k: v for k, v in manifests.items() if k != lost}, blobs)
    if lost not in blobs:
        return
    linked = {d for links in repositories.values() if lost in links.revisions for d in links.layers | links.revisions}
    assert known.reachable & linked <= blind.reachable
