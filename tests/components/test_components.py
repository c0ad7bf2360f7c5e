"""The servers themselves: each answers, and leaves nothing behind."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import redis as redis_client
from botocore.exceptions import ClientError
from pytest_socket import SocketConnectBlockedError

from tests.components import Answer, Postgres, Process, Proxy, Redis, S3Process, wait_for
from tests.components.s3 import s3_client


def test_s3_keeps_connections_open(s3: S3Process) -> None:
    responses = [s3.client.list_buckets()["ResponseMetadata"] for _ in range(2)]

    assert all(response["HTTPHeaders"].get("connection") != "close" for response in responses)


def test_s3_makes_objects_old(s3: S3Process, bucket: str) -> None:
    for key in ("old/one", "new/one"):
        s3.client.put_object(Bucket=bucket, Key=key, Body=b"1")

    s3.age(bucket, "old/", timedelta(days=9))

    old, new = (s3.client.head_object(Bucket=bucket, Key=key)["LastModified"] for key in ("old/one", "new/one"))
    assert timedelta(days=8) < new - old < timedelta(days=10)


def test_s3_refuses_unknown_keys_when_enforcing(tmp_path: Path) -> None:
    server = S3Process(tmp_path, enforce=True)
    try:
        server.make_bucket("images")
        wrong = s3_client(server.endpoint, server.keys[0], "wrong")
        with closing(wrong), pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            wrong.list_objects_v2(Bucket="images")
    finally:
        server.stop()


def test_proxy_hands_on_and_answers_by_itself(s3: S3Process, bucket: str) -> None:
    s3.client.put_object(Bucket=bucket, Key="one", Body=b"content")
    busy = Answer(503, b"busy")
    with (
        Proxy(s3.endpoint, answer=lambda method, path: busy if path.endswith("two") else None) as proxy,
        closing(s3_client(proxy.endpoint)) as client,
    ):
        assert client.get_object(Bucket=bucket, Key="one")["Body"].read() == b"content"
        with pytest.raises(ClientError, match="503"):
            client.get_object(Bucket=bucket, Key="two")


def test_postgres_takes_clients(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_redis_takes_clients(redis: Redis) -> None:
    client = redis_client.Redis.from_url(redis.url)
    assert client.ping() is True
    client.close()


def test_a_child_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.components import Process\n"
        "child = Process(['sleep', '600'], Path(sys.argv[1])); print(child.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "log")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        # Before the program itself runs the kernel has not been asked to kill it yet.
        wait_for(lambda: Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\0"), "the child's program")
        parent.kill()

    wait_for(lambda: not _alive(pid), "the end of the child")


def test_a_process_that_fails_to_start_shows_its_words(tmp_path: Path) -> None:
    process = Process([sys.executable, "-c", "raise SystemExit('no such bucket')"], tmp_path / "log")
    with pytest.raises(AssertionError, match="no such bucket"):
        process.wait_until(lambda: False)


def test_only_loopback_can_be_reached() -> None:
    with (
        socket.socket() as probe,
        pytest.warns(UserWarning, match="192.0.2.1"),
        pytest.raises(SocketConnectBlockedError),
    ):
        probe.connect(("192.0.2.1", 80))


def _alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
