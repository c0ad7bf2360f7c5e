"""The text of a config.yml: YAML 1.1 as a registry reads it, and what is refused, with its line."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagedriver.config.document import MAX_BYTES, ConfigError, Plain, parse_document, parse_value, plain_of, tree_of
from storagedriver.config.emitting import block, inline, variable
from storagedriver.config.scalars import Scalar, go_text, resolve


def read(text: str) -> Plain:
    root = parse_document(text)[1]
    return None if root is None else plain_of(tree_of(root))


def refusal(text: str | bytes) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_document(text)
    return caught.value


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("yes", True),
        ("Y", True),
        ("On", True),
        ("n", False),
        ("OFF", False),
        ("oN", "oN"),
        ("", None),
        ("~", None),
        ("Null", None),
        ("012", 10),
        ("0o12", 10),
        ("0x1F", 31),
        ("0b11", 3),
        ("-0b11", -3),
        ("+12", 12),
        ("1_000", 1000),
        ("0_7", 7),
        ("-0", 0),
        ("08", 8.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("+.5", 0.5),
        ("1.", 1.0),
        ("1.5_0", 1.5),
        ("1e400", "1e400"),
        ("18446744073709551615", 18446744073709551615),
        ("18446744073709551616", 18446744073709551616.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("_7", "_7"),
        ("._5", "._5"),
        ("0b", "0b"),
        ("12a", "12a"),
        ("=", "="),
    ],
)
def test_an_unquoted_word_means_what_it_means_to_a_registry(word: str, value: object) -> None:
    found = resolve(word)
    assert (type(found), found) == (type(value), value)


def test_a_quoted_word_is_a_text() -> None:
    assert read("a: 'yes'\nb: \"012\"\n") == {"a": "yes", "b": "012"}


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("999999.0", "999999"),
        ("1000000.0", "1e+06"),
        ("123456789.5", "1.234567895e+08"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("-1e-5", "-1e-05"),
        ("1.5e300", "1.5e+300"),
        ("0.0", "0"),
        ("-0.0", "-0"),
        (".inf", "+Inf"),
        ("-.inf", "-Inf"),
        (".nan", "NaN"),
        ("yes", "true"),
        ("off", "false"),
        ("012", "10"),
        ("~", ""),
        ("word", "word"),
    ],
)
def test_a_value_becomes_the_text_that_a_registry_makes_of_it(word: str, text: str) -> None:
    assert go_text(resolve(word)) == text


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: &name c\n", 2, "anchor &name"),
        ("a: *name\n", 1, "alias *name"),
        ("a: 1\n*name : 2\n", 2, "alias *name"),
        ("a:\n  <<: {b: 1}\n", 2, "merge key"),
        ("a: !!str 5\n", 1, "tag"),
        ("a: !secret x\n", 1, "tag"),
        ("a: 1\nb: 2\na: 3\n", 3, "the key a stands on line 1 already"),
        ("a: {b: 1,\n b: 2}\n", 2, "the key b stands on line 1 already"),
        ("a: 1\n'a': 2\n", 2, "the key a stands on line 1 already"),
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("%YAML 1.2\n---\na: 1\n", 2, "without directives"),
        ("%TAG ! tag:x,2000:\n---\na: 1\n", 2, "without directives"),
        ("? {a: b}\n: c\n", 1, "a key must be one word"),
        ("a: 1\nb: [1\n", 3, "mend the YAML"),
        ("a: 1\n\tb: 2\n", 2, "tab"),
        ("a: 1\nb: \x01\n", 2, "control character"),
        ("- a\n", 1, "begin with the line `version: 0.1`"),
        ("word\n", 1, "begin with the line `version: 0.1`"),
        ("a: " + "[" * 40 + "]" * 40 + "\n", 1, "nested deeper than 32"),
        ("a: 1\nb:\n  " + "- " * 40 + "\n", 3, "nested deeper than 32"),
        ("a:\n" + "- 1\n" * 10_000, 9999, "more than 10,000 values"),
    ],
)
def test_it_refuses(text: str, line: int, words: str) -> None:
    error = refusal(text)
    assert (error.line, words in str(error)) == (line, True), str(error)
    assert str(error).startswith(f"line {line}: ")


def test_it_refuses_a_file_that_is_too_large() -> None:
    assert "larger than 256 KiB" in str(refusal("#" * (MAX_BYTES + 1)))


def test_it_reads_a_file_of_the_largest_size() -> None:
    assert read("a: 1\n#".ljust(MAX_BYTES, "#")) == {"a": 1}


def test_it_refuses_what_is_not_utf_8() -> None:
    error = refusal(b"a: 1\nb: \xff\n")
    assert (error.line, "UTF-8" in str(error)) == (2, True)


def test_an_error_shows_no_value() -> None:
    assert "hunter2" not in str(refusal('a: 1\nsecretkey: "hunter2\nb: [}\n'))


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "--- ~\n"])
def test_nothing_is_no_document(text: str) -> None:
    assert read(text) is None


def test_keys_are_texts() -> None:
    assert read("yes: 1\n1: 2\n") == {"yes": 1, "1": 2}


def test_a_scalar_hides_its_text_and_tells_its_line() -> None:
    node = parse_document("a: 1\nb: hunter2\n")[1]
    assert node is not None
    root = tree_of(node)
    assert isinstance(root, dict)
    scalar = root["b"]
    assert isinstance(scalar, Scalar)
    assert (scalar.text, scalar.origin, "hunter2" in repr(scalar)) == ("hunter2", "line 2", False)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda values: st.lists(values) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_written_on_one_line_reads_back(value: Plain) -> None:
    found = plain_of(parse_value(inline(value), "line"))
    assert (found, type(found)) == (value, type(value))


@given(VALUES)
def test_what_is_written_for_a_variable_reads_back(value: Plain) -> None:
    assert plain_of(parse_value(variable(value), "NAME")) == value


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, min_size=1), st.sampled_from([0, 2, 7])
)
def test_what_is_written_as_lines_reads_back(value: Plain, indent: int) -> None:
    assert read(block(value, indent)) == value
