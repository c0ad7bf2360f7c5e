"""The configuration of an image: how it runs, and how it was built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .documents import MAX_CONFIG_BYTES, read_object, storable
from .errors import ConfigError


@dataclass(frozen=True, slots=True)
class HistoryStep:
    """One line of the build; an `empty_layer` changed no file and has no layer in the manifest."""

    created: str = ""
    created_by: str = ""
    empty_layer: bool = False
    comment: str = ""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image configuration says. What it does not say, or says in a wrong type, is empty."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    created: str = ""
    """RFC 3339 if the builder followed the specification."""
    author: str = ""
    user: str = ""
    working_dir: str = ""
    stop_signal: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    history: tuple[HistoryStep, ...] = ()
    diff_ids: tuple[str, ...] = ()
    """Digests of the layers uncompressed, base first."""


def parse_config(content: bytes) -> ImageConfig:
    """Read a configuration of at most 8 MiB. Raises ConfigError only if it is too large, too deep or no JSON object:
    a page about an image is of use even where its configuration is odd."""
    document = read_object(content, what="configuration", limit=MAX_CONFIG_BYTES, error=ConfigError, strict=False)
    run = _object(document, "config")
    return ImageConfig(
        os=_text(document, "os"),
        architecture=_text(document, "architecture"),
        variant=_text(document, "variant"),
        created=_text(document, "created"),
        author=_text(document, "author"),
        user=_text(run, "User"),
        working_dir=_text(run, "WorkingDir"),
        stop_signal=_text(run, "StopSignal"),
        env=_texts(run, "Env"),
        entrypoint=_command(run, "Entrypoint"),
        cmd=_command(run, "Cmd"),
        exposed_ports=tuple(map(storable, _object(run, "ExposedPorts"))),
        volumes=tuple(map(storable, _object(run, "Volumes"))),
        labels={storable(k): storable(v) for k, v in _object(run, "Labels").items() if isinstance(v, str)},
        history=tuple(
            HistoryStep(
                created=_text(step, "created"),
                created_by=_text(step, "created_by"),
                empty_layer=step.get("empty_layer") is True,
                comment=_text(step, "comment"),
            )
            for step in _list(document, "history")
            if isinstance(step, dict)
        ),
        diff_ids=_texts(_object(document, "rootfs"), "diff_ids"),
    )


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key)
    return storable(value) if isinstance(value, str) else ""


def _object(fields: dict[str, Any], key: str) -> dict[str, Any]:
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def _list(fields: dict[str, Any], key: str) -> list[Any]:
    value = fields.get(key)
    return value if isinstance(value, list) else []


def _texts(fields: dict[str, Any], key: str) -> tuple[str, ...]:
    return tuple(storable(item) for item in _list(fields, key) if isinstance(item, str))


def _command(fields: dict[str, Any], key: str) -> tuple[str, ...]:
    """A list of arguments; some builders write a single text for a single argument."""
    return _texts(fields, key) or tuple(filter(None, [_text(fields, key)]))
