"""The path rule, the key mapping, and part plans."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagedriver import InvalidPathError
from storagedriver.parts import (
    EQUAL_PARTS,
    MAX_OBJECT_BYTES,
    MAX_PART_BYTES,
    MAX_PARTS,
    MIN_PART_BYTES,
    copy_spans,
    part_size,
)
from storagedriver.paths import KeyMap, check_path

components = st.from_regex(r"[A-Za-z0-9._-]{1,12}", fullmatch=True).filter(lambda name: name not in {".", ".."})
paths = st.lists(components, min_size=1, max_size=6).map(lambda names: "/" + "/".join(names))
roots = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)


class TestCheckPath:
    @given(paths)
    def test_it_takes_every_path_of_the_grammar(self, path: str) -> None:
        assert check_path(path) == path

    @given(st.text(max_size=20))
    def test_it_takes_nothing_else(self, path: str) -> None:
        try:
            check_path(path)
        except InvalidPathError:
            return
        assert re.fullmatch(r"(/[A-Za-z0-9._-]+)+", path, re.ASCII)
        assert not {".", ".."} & set(path.split("/"))

    @pytest.mark.parametrize(
        "path", ["", "/", "a", "/a/", "//a", "/a b", "/a*", "/a\n", "/..", "/a/./b", "/ä", "/a\x00"]
    )
    def test_bad_paths(self, path: str) -> None:
        with pytest.raises(InvalidPathError):
            check_path(path)

    @pytest.mark.parametrize("path", ["/...", "/.a", "/..a", "/a..", "/a.", "/-"])
    def test_dots_within_names(self, path: str) -> None:
        assert check_path(path) == path

    def test_the_root_where_it_is_allowed(self) -> None:
        assert check_path("/", root=True) == "/"


class TestKeyMap:
    @pytest.mark.parametrize(
        ("root", "path", "key"),
        [
            ("", "/docker/registry/v2/x", "docker/registry/v2/x"),
            ("/", "/docker/registry/v2/x", "docker/registry/v2/x"),
            ("/registry-v2", "/docker", "registry-v2/docker"),
            ("registry-v2/", "/docker", "registry-v2/docker"),
            ("/a//b/", "/c", "a//b/c"),
            ("a", "", "a"),
            ("a", "/", "a/"),
            ("", "", ""),
            ("", "/", ""),
        ],
    )
    def test_keys(self, root: str, path: str, key: str) -> None:
        assert KeyMap.under(root).key(path) == key

    @given(roots, paths)
    def test_a_path_comes_back(self, root: str, path: str) -> None:
        keys = KeyMap.under(root)
        assert keys.path(keys.key(path)) == path

    @given(roots, paths)
    def test_a_key_is_below_the_root_and_has_no_leading_slash(self, root: str, path: str) -> None:
        key = KeyMap.under(root).key(path)
        assert key.startswith(KeyMap.under(root).prefix("/"))
        assert not key.startswith("/")

    @given(roots, paths, paths)
    def test_a_prefix_holds_what_is_below_and_nothing_beside(self, root: str, path: str, below: str) -> None:
        keys = KeyMap.under(root)
        assert keys.key(path + below).startswith(keys.prefix(path))
        assert not keys.key(f"{path}-x").startswith(keys.prefix(path))

    @given(st.text(max_size=10))
    def test_every_listed_key_has_a_path(self, key: str) -> None:
        keys = KeyMap("root")
        assert keys.path(f"root/{key}") == f"/{key}"

    @pytest.mark.parametrize("key", ["", "root", "root-2/a", "other/a"])
    def test_a_key_outside_the_root_has_none(self, key: str) -> None:
        with pytest.raises(ValueError, match="not below the root directory"):
            KeyMap("root").path(key)


chunks = st.integers(MIN_PART_BYTES, MAX_PART_BYTES)


class TestPartSize:
    @given(chunks)
    def test_any_object_fits(self, chunk: int) -> None:
        assert sum(part_size(number, chunk) for number in range(1, MAX_PARTS + 1)) >= MAX_OBJECT_BYTES

    @given(chunks, st.integers(1, MAX_PARTS))
    def test_every_part_is_within_the_limits(self, chunk: int, number: int) -> None:
        assert MIN_PART_BYTES <= part_size(number, chunk) <= MAX_PART_BYTES

    @given(chunks, st.integers(1, EQUAL_PARTS))
    def test_parts_are_equal_for_a_long_time(self, chunk: int, number: int) -> None:
        assert part_size(number, chunk) == chunk

    @pytest.mark.parametrize("number", [0, MAX_PARTS + 1])
    def test_there_is_no_other_part(self, number: int) -> None:
        with pytest.raises(ValueError, match="S3 takes parts 1 to 10,000"):
            part_size(number, MIN_PART_BYTES)


class TestCopySpans:
    @given(st.integers(1, MAX_OBJECT_BYTES), chunks)
    def test_spans_cover_the_object_within_the_limits(self, size: int, chunk: int) -> None:
        spans = copy_spans(size, chunk)
        lengths = [span.last - span.first + 1 for span in spans]
        assert [span.number for span in spans] == list(range(1, len(spans) + 1))
        assert spans[0].first == 0
        assert spans[-1].last == size - 1
        assert all(before.last + 1 == after.first for before, after in itertools.pairwise(spans))
        assert len(spans) <= MAX_PARTS
        assert all(min(size, MIN_PART_BYTES) <= length <= MAX_PART_BYTES for length in lengths)
        assert len(set(lengths[:-1])) <= 1

    def test_it_refuses_what_fits_no_plan(self) -> None:
        with pytest.raises(ValueError, match="do not fit"):
            copy_spans(MAX_PARTS * MAX_PART_BYTES + 1, MIN_PART_BYTES)
