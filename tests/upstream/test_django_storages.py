"""django-storages' own S3 tests with RegistryStorage: each that must differ is named, with the reason.

The source is fetched when the test runs and kept in .cache; nothing of it is part of this project. A new version of
django-storages in requirements.txt needs its SHA256 here, and a look at what changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.components.process import ROOT

SHA256 = "7a25ce8f4214f69ac9c7ce87e2603887f7ae99326c316bc8d2d75375e09341c9"
CACHE = ROOT / ".cache" / "upstream"

SETTINGS = "a registry's parameters are all there is: no AWS_* setting and no variable of the environment is read"
BOTO3_CALLS = "the test expects calls of a boto3 resource; requests go through the driver's client"
CONTENT_TYPE = "every object is application/octet-stream without an encoding, as the registry stores it"
PATH_RULE = "a name keeps the registry's path rule; everything else is refused"
CUSTOM_DOMAIN = "URLs are presigned or CloudFront's, signed by the middleware; custom_domain has no meaning"
PICKLE = "a storage holds credentials, so it refuses to be pickled"
TEXT = "a file gives bytes in every mode: a registry stores no text"
LOCATION = "leading slashes of a root directory do not matter, as in the registry"

MUST_DIFFER = {
    SETTINGS: """
        S3StorageTests.test_auth_config S3StorageTests.test_client_config S3StorageTests.test_cloudfront_config
        S3StorageTests.test_connection_unsiged S3StorageTests.test_override_settings S3StorageTests.test_s3_session
        S3StorageTests.test_security_token S3StorageTests.test_transfer_config S3StorageTests.test_use_threads_false
    """,
    BOTO3_CALLS: """
        S3StorageTests.test_storage_delete S3StorageTests.test_storage_delete_other_error_reraise
        S3StorageTests.test_storage_exists S3StorageTests.test_storage_exists_false
        S3StorageTests.test_storage_exists_other_error_reraise S3StorageTests.test_storage_exists_ssec
        S3StorageTests.test_storage_listdir_base S3StorageTests.test_storage_mtime
        S3StorageTests.test_storage_object_parameters_not_overwritten_by_default
        S3StorageTests.test_storage_open_no_overwrite_existing S3StorageTests.test_storage_open_no_write
        S3StorageTests.test_storage_open_read_string S3StorageTests.test_storage_save
        S3StorageTests.test_storage_save_non_seekable S3StorageTests.test_storage_save_with_default_acl
        S3StorageTests.test_storage_size S3StorageTests.test_storage_url S3StorageTests.test_url_unsigned
    """,
    CONTENT_TYPE: """
        S3StorageTests.test_content_type S3StorageTests.test_content_type_set_explicitly
        S3StorageTests.test_storage_save_gzip S3StorageTests.test_storage_save_gzip_twice
        S3StorageTests.test_storage_save_gzipped S3StorageTests.test_storage_save_gzipped_non_seekable
        S3StorageTestsWithMoto.test_content_type_attribute S3StorageTestsWithMoto.test_content_type_guess
    """,
    PATH_RULE: """
        S3StorageTests.test_special_characters S3StorageTests.test_storage_listdir_empty
        S3StorageTests.test_storage_listdir_subdir S3StorageTests.test_storage_open_write
        S3StorageTests.test_storage_write_beyond_buffer_size
    """,
    CUSTOM_DOMAIN: """
        S3StorageTests.test_custom_domain_parameters S3StorageTests.test_generated_url_is_encoded
        S3StorageTests.test_storage_url_custom_domain_signed_urls S3StorageTests.test_storage_url_slashes
    """,
    PICKLE: "S3StorageTests.test_pickle_with_bucket S3StorageTests.test_pickle_without_bucket",
    TEXT: "S3StorageTestsWithMoto.test_storage_open_reading_with_newlines",
    LOCATION: "S3StorageTests.test_location_leading_slash",
}


def pinned_version() -> str:
    match = re.search(r"^django-storages==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert match, "requirements.txt does not pin django-storages"
    return match[1]


def fetch(version: str, folder: Path) -> Path:
    """Return the path of the source archive, from the cache or else through pip."""
    archive = CACHE / f"django_storages-{version}.tar.gz"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        pin = folder / "requirements.txt"  # pip runs the archive's own code: only after checking the digest
        pin.write_text(f"django-storages=={version} --hash=sha256:{SHA256}\n")
        options = ["--quiet", "--no-deps", "--no-binary", "django-storages", "--require-hashes", "--dest", str(CACHE)]
        command = [sys.executable, "-m", "pip", "download", *options, "--requirement", str(pin)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert "DO NOT MATCH THE HASHES" not in done.stderr, f"django-storages {version} is not what SHA256 names"
        if done.returncode:
            pytest.skip(f"no package registry gave django-storages {version}: {done.stderr.strip().splitlines()[-1]}")
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256, f"{archive} is not what SHA256 names; delete it"
    return archive


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    """Run the suite; return whether each test passed, by `class.test`."""
    folder = tmp_path_factory.mktemp("upstream")
    version = pinned_version()
    with tarfile.open(fetch(version, folder)) as archive:
        # Only the tests: they try the installed package.
        root = f"django_storages-{version}"
        members = [member for member in archive.getmembers() if member.name.startswith(f"{root}/tests/")]
        archive.extractall(folder, members, filter="data")
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_", "DJANGO_"))}
    paths = [folder / root, Path(__file__).parent, ROOT]
    env = keep | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider"]
    command += ["-p", "registry_storage_plugin", f"--junit-xml={report}", "tests/test_s3.py"]
    done = subprocess.run(command, cwd=folder / root, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert report.exists(), done.stdout + done.stderr
    return {
        f"{case.attrib['classname'].rpartition('.')[2]}.{case.attrib['name']}": not (
            case.findall("failure") or case.findall("error") or case.findall("skipped")
        )
        for case in ElementTree.parse(report).iter("testcase")
    }


def test_every_test_of_the_suite_ran(outcomes: dict[str, bool]) -> None:
    assert len(outcomes) == 68


def test_exactly_the_tests_that_must_differ_do(outcomes: dict[str, bool]) -> None:
    """A test that fails anew is a regression, one that passes now does not belong on the list."""
    must_differ = {name for names in MUST_DIFFER.values() for name in names.split()}
    assert {name for name, passed in outcomes.items() if not passed} == must_differ
