"""The demo's S3 server: what was answered survives a kill, and nobody but local clients is served."""

from __future__ import annotations

import datetime
import http.client
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from dashboard.demo import ACCESS_KEY, BUCKET, REGION, SECRET_KEY
from dashboard.demo.content import STALE_CONTENT, build_demo
from dashboard.demo.server import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ROOT = Path(__file__).parent.parent.parent
MIB = 2**20
SERVE = """
import sys
from pathlib import Path
from dashboard.demo.server import S3Server
server = S3Server(Path(sys.argv[1]))
print(server.endpoint_url, flush=True)
server.serve_forever()
"""


def client_of(endpoint_url: str) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(retries={"total_max_attempts": 1}),
    )


class Killable:
    """A server in a process of its own; `again` kills it without warning and starts the next one on the same folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None

    def again(self) -> S3Client:
        self.kill()
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(self._folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        return client_of(self._process.stdout.readline().strip())

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Killable]:
    killable = Killable(tmp_path / "s3")
    yield killable
    killable.kill()


@contextmanager
def serving(folder: Path | None = None) -> Iterator[tuple[S3Server, S3Client]]:
    with S3Server(folder) as running:
        yield running, client_of(running.endpoint_url)


def test_an_object_survives_a_kill_with_its_metadata(server: Killable) -> None:
    client = server.again()
    client.create_bucket(Bucket="goods")
    client.put_object(
        Bucket="goods",
        Key="a/b c+ü",
        Body=b"ware",
        ContentType="application/x-ware",
        Metadata={"colour": "red"},
        StorageClass="STANDARD_IA",
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId="alias/goods",
        Tagging="owner=us",
    )
    before = stable(client.get_object(Bucket="goods", Key="a/b c+ü"))
    client = server.again()
    assert stable(client.get_object(Bucket="goods", Key="a/b c+ü")) == before
    assert client.get_object_tagging(Bucket="goods", Key="a/b c+ü")["TagSet"] == [{"Key": "owner", "Value": "us"}]


def stable(answer: Any) -> dict[str, Any]:
    """What a client sees of an object, without what differs from answer to answer."""
    return {name: value for name, value in answer.items() if name not in {"ResponseMetadata", "Body"}} | {
        "content": answer["Body"].read()
    }


def test_an_overwritten_object_stays_overwritten(server: Killable) -> None:
    client = server.again()
    client.create_bucket(Bucket="goods")
    client.put_object(Bucket="goods", Key="a", Body=b"old")
    client.put_object(Bucket="goods", Key="a", Body=b"newer")
    assert server.again().get_object(Bucket="goods", Key="a")["Body"].read() == b"newer"


def test_deleted_objects_stay_deleted(server: Killable) -> None:
    client = server.again()
    client.create_bucket(Bucket="goods")
    for key in ("a", "b", "c", "d"):
        client.put_object(Bucket="goods", Key=key, Body=b"x")
    client.delete_object(Bucket="goods", Key="a")
    client.delete_objects(Bucket="goods", Delete={"Objects": [{"Key": "b"}, {"Key": "c"}]})
    listed = server.again().list_objects_v2(Bucket="goods")["Contents"]
    assert [entry["Key"] for entry in listed] == ["d"]


def test_what_is_deleted_leaves_no_file(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, client):
        client.create_bucket(Bucket="goods")
        client.put_object(Bucket="goods", Key="a", Body=b"x")
        client.put_object(Bucket="goods", Key="a", Body=b"y")
        client.delete_object(Bucket="goods", Key="a")
    assert list((tmp_path / "goods" / "objects").iterdir()) == []


def test_a_pending_upload_can_be_finished_after_a_kill(server: Killable) -> None:
    client = server.again()
    client.create_bucket(Bucket="goods")
    upload = client.create_multipart_upload(Bucket="goods", Key="big", StorageClass="STANDARD_IA")["UploadId"]
    first = client.upload_part(Bucket="goods", Key="big", UploadId=upload, PartNumber=1, Body=bytes(5 * MIB))
    client = server.again()
    last = client.upload_part(Bucket="goods", Key="big", UploadId=upload, PartNumber=2, Body=b"end")
    parts = [{"PartNumber": 1, "ETag": first["ETag"]}, {"PartNumber": 2, "ETag": last["ETag"]}]
    client = server.again()
    done = client.complete_multipart_upload(
        Bucket="goods",
        Key="big",
        UploadId=upload,
        MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]
    )
    client = server.again()
    found = client.get_object(Bucket="goods", Key="big")
    assert (found["ETag"], found["StorageClass"]) == (done["ETag"], "STANDARD_IA")
    assert found["Body"].read() == bytes(5 * MIB) + b"end"
    assert "Uploads" not in client.list_multipart_uploads(Bucket="goods")


def test_an_aborted_upload_stays_aborted(server: Killable) -> None:
    client = server.again()
    client.create_bucket(Bucket="goods")
    upload = client.create_multipart_upload(Bucket="goods", Key="big")["UploadId"]
    client.upload_part(Bucket="goods", Key="big", UploadId=upload, PartNumber=1, Body=b"x")
    client.abort_multipart_upload(Bucket="goods", Key="big", UploadId=upload)
    assert "Uploads" not in server.again().list_multipart_uploads(Bucket="goods")


def test_versions_and_delete_markers_survive_a_kill(server: Killable) -> None:
    client = server.again()
    client.create_bucket(Bucket="goods")
    client.put_bucket_versioning(Bucket="goods", VersioningConfiguration={"Status": "Enabled"})
    for body in (b"one", b"two"):
        client.put_object(Bucket="goods", Key="a", Body=body)
    first = client.list_object_versions(Bucket="goods")["Versions"][-1]["VersionId"]
    client.put_object_tagging(
        Bucket="goods", Key="a", VersionId=first, Tagging={"TagSet": [{"Key": "k", "Value": "v"}]}
    )
    client.delete_object(Bucket="goods", Key="a")
    before = client.list_object_versions(Bucket="goods")
    after = server.again().list_object_versions(Bucket="goods")
    assert [after["Versions"], after["DeleteMarkers"]] == [before["Versions"], before["DeleteMarkers"]]


def test_a_bucket_keeps_its_configuration(server: Killable) -> None:
    client = server.again()
    client.create_bucket(Bucket="goods", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    rule = {
        "ID": "tidy",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    client.put_bucket_lifecycle_configuration(Bucket="goods", LifecycleConfiguration={"Rules": [rule]})  # type: ignore[list-item]
    client.put_bucket_tagging(Bucket="goods", Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
    client.delete_bucket_tagging(Bucket="goods")
    created = client.list_buckets()["Buckets"][0]["CreationDate"]
    client = server.again()
    assert client.get_bucket_location(Bucket="goods")["LocationConstraint"] == "eu-west-1"
    assert [kept["ID"] for kept in client.get_bucket_lifecycle_configuration(Bucket="goods")["Rules"]] == ["tidy"]
    assert client.list_buckets()["Buckets"][0]["CreationDate"] == created
    with pytest.raises(ClientError, match="NoSuchTagSet"):
        client.get_bucket_tagging(Bucket="goods")


def test_a_deleted_bucket_stays_deleted(server: Killable) -> None:
    client = server.again()
    client.create_bucket(Bucket="goods")
    client.delete_bucket(Bucket="goods")
    assert server.again().list_buckets()["Buckets"] == []


def test_half_written_files_are_removed_at_start(server: Killable, tmp_path: Path) -> None:
    client = server.again()
    client.create_bucket(Bucket="goods")
    leftover = tmp_path / "s3" / "goods" / "objects" / "7.new"
    leftover.write_bytes(b'{"na')
    unfinished = tmp_path / "s3" / "half-seeded" / "objects"
    unfinished.mkdir(parents=True)
    server.again()
    assert (leftover.exists(), unfinished.exists()) == (False, False)


def test_only_the_owner_can_look_into_the_folder(tmp_path: Path) -> None:
    with serving(tmp_path / "s3"):
        assert (tmp_path / "s3").stat().st_mode & 0o777 == 0o700


def test_it_seeds_dates_and_the_pending_upload(tmp_path: Path) -> None:
    now = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
    demo = build_demo(now)
    with serving(tmp_path) as (running, client):
        running.s3.seed(BUCKET, demo)
    with serving(tmp_path) as (running, client):
        assert running.s3.has_bucket(BUCKET)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        listed = {entry["Key"]: entry["LastModified"] for page in pages for entry in page["Contents"]}
        [upload] = client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
        parts = client.list_parts(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])["Parts"]
    assert listed == {item.key: item.modified.replace(microsecond=0) for item in demo.objects}
    assert upload["Initiated"] == now - datetime.timedelta(days=9)
    assert [part["Size"] for part in parts] == [len(STALE_CONTENT)]


def test_a_listing_of_uploads_gives_their_true_dates() -> None:
    with serving() as (_, client):
        client.create_bucket(Bucket="goods")
        before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        client.create_multipart_upload(Bucket="goods", Key="big")
        [upload] = client.list_multipart_uploads(Bucket="goods")["Uploads"]
    assert before <= upload["Initiated"] <= datetime.datetime.now(datetime.UTC)


def test_one_connection_serves_many_requests() -> None:
    with serving() as (running, client):
        client.create_bucket(Bucket="goods")
        client.put_object(Bucket="goods", Key="a", Body=b"ware")
        connection = http.client.HTTPConnection(urlsplit(running.endpoint_url).netloc)
        answers = []
        for method in ("GET", "HEAD", "GET"):
            connection.request(method, "/goods/a", headers={"Authorization": "AWS demo:x"})
            answers.append(connection.getresponse().read())
            assert connection.sock is not None
        connection.close()
    assert answers == [b"ware", b"", b"ware"]


def test_it_takes_a_chunked_body() -> None:
    with serving() as (running, client):
        client.create_bucket(Bucket="goods")
        connection = http.client.HTTPConnection(urlsplit(running.endpoint_url).netloc)
        pieces = (piece for piece in (b"wa", b"re"))
        connection.request("PUT", "/goods/a", body=pieces, headers={"Authorization": "AWS demo:x"}, encode_chunked=True)
        connection.getresponse().read()
        connection.close()
        assert client.get_object(Bucket="goods", Key="a")["Body"].read() == b"ware"


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}])
def test_a_page_of_somebody_else_is_refused(headers: dict[str, str]) -> None:
    with serving() as (running, client):
        client.create_bucket(Bucket="goods")
        connection = http.client.HTTPConnection(urlsplit(running.endpoint_url).netloc)
        connection.request("PUT", "/goods/a", body=b"x", headers=headers)
        status = connection.getresponse().status
        connection.close()
        assert (status, client.list_objects_v2(Bucket="goods")["KeyCount"]) == (403, 0)


def test_objects_do_not_stay_in_memory(server: Killable) -> None:
    client = server.again()
    client.create_bucket(Bucket="goods")
    for number in range(24):
        client.put_object(Bucket="goods", Key=str(number), Body=bytes(4 * MIB))
    assert server._process is not None
    status = Path(f"/proc/{server._process.pid}/status")
    if not status.exists():
        pytest.skip("memory is read from /proc, which this system does not have")
    resident = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    assert resident * 1024 < 200 * MIB  # about 110 MiB of them are moto's modules; the objects would add 96


def free_port() -> str:
    with S3Server() as running:
        return running.endpoint_url.rpartition(":")[2]


@contextmanager
def command(folder: Path, *, parent: str = "") -> Iterator[tuple[subprocess.Popen[bytes], S3Client]]:
    port = free_port()
    program = [sys.executable, "manage.py", "demo_s3", "--port", port, "--folder", str(folder)]
    process = subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    client = client_of(f"http://127.0.0.1:{port}")
    try:
        wait_for_answer(client, process)
        yield process, client
    finally:
        process.kill()
        process.communicate()


def wait_for_answer(client: S3Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            client.list_buckets()
        except EndpointConnectionError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not answer in a minute"
            time.sleep(0.05)  # between two looks at the port; the deadline decides
        else:
            return


def test_the_command_seeds_the_demo_and_is_quiet(tmp_path: Path) -> None:
    with command(tmp_path) as (process, client):
        assert client.list_objects_v2(Bucket=BUCKET, MaxKeys=1)["KeyCount"] == 1
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
        assert (process.returncode, output) == (0, b"")
