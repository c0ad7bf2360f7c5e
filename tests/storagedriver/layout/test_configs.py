from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagedriver.layout.configs import HistoryStep, ImageConfig, parse_config
from storagedriver.layout.errors import ConfigError


def parse(document: Any) -> ImageConfig:
    return parse_config(json.dumps(document).encode())


def test_it_reads_a_configuration() -> None:
    assert parse(
        {
            "os": "linux",
            "architecture": "arm",
            "variant": "v7",
            "created": "2024-05-01T10:00:00Z",
            "author": "Alice",
            "config": {
                "User": "app",
                "WorkingDir": "/srv",
                "StopSignal": "SIGTERM",
                "Env": ["A=1", "B=2"],
                "Entrypoint": ["/app"],
                "Cmd": ["serve"],
                "ExposedPorts": {"80/tcp": {}},
                "Volumes": {"/data": {}},
                "Labels": {"a": "b"},
            },
            "history": [{"created": "2024", "created_by": "RUN x", "comment": "c"}, {"empty_layer": True}],
            "rootfs": {"type": "layers", "diff_ids": ["sha256:1"]},
        }
    ) == ImageConfig(
        os="linux",
        architecture="arm",
        variant="v7",
        created="2024-05-01T10:00:00Z",
        author="Alice",
        user="app",
        working_dir="/srv",
        stop_signal="SIGTERM",
        env=("A=1", "B=2"),
        entrypoint=("/app",),
        cmd=("serve",),
        exposed_ports=("80/tcp",),
        volumes=("/data",),
        labels={"a": "b"},
        history=(HistoryStep("2024", "RUN x", False, "c"), HistoryStep(empty_layer=True)),
        diff_ids=("sha256:1",),
    )


def test_a_single_text_is_a_command_of_one_argument() -> None:
    assert parse({"config": {"Cmd": "serve"}}).cmd == ("serve",)


def test_what_is_missing_is_empty() -> None:
    assert parse({}) == ImageConfig()


def test_repeated_keys_and_odd_numbers_do_not_hide_a_configuration() -> None:
    assert parse_config(b'{"os":"a","os":"linux","x":NaN}').os == "linux"


def test_texts_that_no_database_can_hold_are_made_storable() -> None:
    assert parse({"config": {"Labels": {"\x00": "\udfff"}, "Env": ["\x00"]}}) == ImageConfig(
        labels={"\ufffd": "\ufffd"}, env=("\ufffd",)
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[]", "not a JSON object"),
        (b"nonsense", "not JSON"),
        (b'{"a":' * 1000, "not JSON|levels deep"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "more than 32 levels"),
        (b" " * (8 * 1024 * 1024 + 1), "limit is 8 MiB"),
    ],
)
def test_it_refuses_what_is_no_object(content: bytes, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_config(content)


_hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_names = st.sampled_from(
    ["os", "config", "Env", "Labels", "Cmd", "history", "rootfs", "diff_ids", "Volumes", "created"]
)


@given(st.dictionaries(_names, _hostile | st.dictionaries(_names, _hostile)))
def test_any_object_is_read(document: dict[str, Any]) -> None:
    assert all(isinstance(text, str) for text in parse(document).env)
