"""REGISTRY_* variables over a config.yml: the rules of a registry, its traps, and where we are kinder."""

from __future__ import annotations

import pytest

from storagedriver import ParameterErrors
from storagedriver.config import (
    ConfigError,
    Maintenance,
    RedirectMiddleware,
    RegistryConfig,
    UploadPurging,
    parse_config,
)
from storagedriver.config.document import Plain, plain_of
from storagedriver.config.reading import EMPTY, load
from storagedriver.parameters import ParameterWarning

FILE = """\
version: 0.1
log: {level: info, fields: {environment: test}}
storage:
  somedriver:
    string1: string-value1
    bool1: true
    nil1: null
    int1: 42
    url1: https://foo.example.com
    path1: /some-path
auth:
  silly: {realm: silly, service: silly}
"""
S3 = "version: 0.1\nstorage:\n  s3: {region: us-east-1, bucket: images}\n"
PURGING = "  maintenance: {uploadpurging: {enabled: true, age: 1h, interval: 1h, dryrun: false}}\n"


def merged(text: str = FILE, version: str = "2.8", **environment: str) -> dict[str, Plain]:
    """Return the configuration under variables, which are named without their prefix."""
    found, _ = applied(text, version, **environment)
    return found


def applied(text: str, version: str, **environment: str) -> tuple[dict[str, Plain], dict[str, str]]:
    warnings: list[ParameterWarning] = []
    tree = load(text, version, {f"REGISTRY_{name}": value for name, value in environment.items()}, warnings)
    return {key: plain_of(value) for key, value in tree.items()}, dict(warnings)


def s3(version: str = "2.8", text: str = S3, **environment: str) -> RegistryConfig:
    return parse_config(text, version, {f"REGISTRY_{name}": value for name, value in environment.items()})


def test_it_works() -> None:
    assert s3(STORAGE_S3_BUCKET="other").storage.bucket == "other"


def test_without_variables_the_file_stays() -> None:
    assert merged() == {
        "version": 0.1,
        "log": {"level": "info", "fields": {"environment": "test"}},
        "storage": {
            "somedriver": {
                "string1": "string-value1",
                "bool1": True,
                "nil1": None,
                "int1": 42,
                "url1": "https://foo.example.com",
                "path1": "/some-path",
            }
        },
        "auth": {"silly": {"realm": "silly", "service": "silly"}},
    }


def test_other_variables_are_not_looked_at() -> None:
    assert parse_config(S3, "2.8", {"STORAGE_S3_BUCKET": "x", "registry_storage_s3_bucket": "x", "PATH": "["}) == s3()


# The parser's tests


def test_the_short_form() -> None:
    assert merged("version: 0.1\nstorage: inmemory\n")["storage"] == {"inmemory": {}}


def test_a_file_with_nothing_but_its_version_needs_variables() -> None:
    with pytest.raises(ConfigError, match="no storage configuration provided"):
        merged(EMPTY)


def test_variables_alone_are_a_configuration() -> None:
    found = merged(
        EMPTY,
        STORAGE="filesystem",
        STORAGE_FILESYSTEM_ROOTDIRECTORY="/tmp/testroot",
        AUTH="silly",
        AUTH_SILLY_REALM="silly",
    )
    assert (found["storage"], found["auth"]) == (
        {"filesystem": {"rootdirectory": "/tmp/testroot"}},
        {"silly": {"realm": "silly"}},
    )


def test_naming_the_same_driver_drops_its_parameters() -> None:
    found = merged(STORAGE="somedriver", STORAGE_SOMEDRIVER_REGION="us-east-1")
    assert found["storage"] == {"somedriver": {"region": "us-east-1"}}


def test_naming_the_driver_drops_the_other_sections_too() -> None:
    found = s3(
        text=f"{S3}  delete: {{enabled: true}}\n", STORAGE="s3", STORAGE_S3_REGION="r-1", STORAGE_S3_BUCKET="abc"
    )
    assert not found.delete.enabled


def test_another_driver_replaces_the_files() -> None:
    assert merged(STORAGE="inmemory")["storage"] == {"inmemory": {}}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("string1", "changed", "changed"),
        ("bool1", "false", False),
        ("bool1", "off", False),
        ("int1", "007", 7),
        ("int1", "012", 10),
        ("int1", "1e5", 1e5),
        ("newparam", "some Value", "some Value"),
        ("string1", "'012'", "012"),
        ("string1", "", None),
        ("string1", "{a: [1]}", {"a": [1]}),
        ("string1", "a #b", "a"),
    ],
)
def test_single_parameters_take_the_values_of_yaml(name: str, text: str, value: Plain) -> None:
    found = merged(**{f"STORAGE_SOMEDRIVER_{name.upper()}": text})["storage"]["somedriver"][name]
    assert (found, type(found)) == (value, type(value))


def test_the_old_log_level_does_not_change_the_new_one() -> None:
    found = merged(LOGLEVEL="info")
    assert (found["log"]["level"], found["loglevel"]) == ("info", "info")


def test_the_log_level() -> None:
    assert merged(LOG_LEVEL="error")["log"]["level"] == "error"


@pytest.mark.parametrize("name", ["LOGLEVEL", "LOG_LEVEL"])
def test_it_refuses_a_bad_log_level(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"invalid loglevel derp .*REGISTRY_{name}"):
        merged(**{name: "derp"})


@pytest.mark.parametrize(
    "name", ["DUCKS", "REPORTING_ASDF", "CONFIGURATION_PATH", "LOG_LEVELS", "", "_X", "storage_s3"]
)
def test_unrecognised_names_are_ignored_with_a_warning(name: str) -> None:
    found, warnings = applied(FILE, "2.8", **{name: "1"})
    # A struct that a name leads into is there afterwards, as an empty one.
    assert {key: value for key, value in found.items() if value} == merged()
    assert warnings[f"REGISTRY_{name}"].startswith(f"Ignoring unrecognized environment variable REGISTRY_{name}.")


def test_unrecognised_names_come_with_a_proposal() -> None:
    _, warnings = applied(FILE, "2.8", LOG_LEVELS="info")
    assert "Did you mean REGISTRY_LOG_LEVEL?" in warnings["REGISTRY_LOG_LEVELS"]


def test_the_version_is_set_without_a_check() -> None:
    assert merged(VERSION="0.2")["version"] == 0.2


@pytest.mark.parametrize(
    "name", ["STORAGE_SOMEDRIVER", "STORAGE_LOG", "LOG_HOOKS", "HTTP", "MIDDLEWARE_STORAGE", "LOG_FIELDS"]
)
def test_a_word_is_no_mapping_and_no_list(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"REGISTRY_{name} must be a (mapping|list)"):
        merged(**{name: "somestring"})


def test_a_mapping_is_no_word() -> None:
    with pytest.raises(ConfigError, match="REGISTRY_HTTP_ADDR must be a single value"):
        merged(HTTP_ADDR="{a: b}")


def test_what_is_no_yaml_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="parsing environment variable REGISTRY_STORAGE_SOMEDRIVER_URL1: ") as caught:
        merged(STORAGE_SOMEDRIVER_URL1="[hunter2")
    assert "hunter2" not in str(caught.value)


# Names and their order


def test_two_drivers_are_refused_with_a_way_out() -> None:
    with pytest.raises(ConfigError, match=r"multiple storage drivers .*: somedriver, s3; set REGISTRY_STORAGE=s3"):
        merged(STORAGE_S3_BUCKET="images")


def test_parameters_as_a_whole() -> None:
    assert merged(STORAGE_SOMEDRIVER="{a: 1}", STORAGE_SOMEDRIVER_B="2")["storage"] == {"somedriver": {"a": 1, "b": 2}}


def test_storage_as_a_whole() -> None:
    found = s3(STORAGE="{s3: {region: us-east-1, bucket: other}, delete: {enabled: true}}")
    assert (found.storage.bucket, found.delete.enabled) == ("other", True)


def test_an_empty_storage_is_none() -> None:
    with pytest.raises(ConfigError, match="no storage configuration provided"):
        merged(STORAGE="")


def test_keys_are_found_whatever_their_letters() -> None:
    text = FILE.replace("somedriver", "someDriver")
    assert merged(text, STORAGE_SOMEDRIVER_INT1="1")["storage"]["someDriver"]["int1"] == 1


def test_a_key_with_capitals_stays_beside_the_one_that_is_set() -> None:
    found = merged(FILE.replace("int1", "Int1"), STORAGE_SOMEDRIVER_INT1="1")["storage"]["somedriver"]
    assert (found["Int1"], found["int1"]) == (42, 1)


def test_small_letters_in_a_name_make_the_section_anew() -> None:
    assert merged(STORAGE_somedriver_X="1")["storage"] == {"somedriver": {"x": 1}}


def test_small_letters_at_the_end_of_a_name_do_no_harm() -> None:
    assert merged(STORAGE_SOMEDRIVER_int1="1")["storage"]["somedriver"]["int1"] == 1


def test_below_a_value_there_is_nothing() -> None:
    found, warnings = applied(FILE, "2.8", STORAGE_SOMEDRIVER_INT1_X="1")
    assert found == merged()
    assert "single value" in warnings["REGISTRY_STORAGE_SOMEDRIVER_INT1_X"]


def test_below_nothing_a_mapping_begins() -> None:
    assert merged(STORAGE_SOMEDRIVER_NIL1_X="1")["storage"]["somedriver"]["nil1"] == {"x": 1}


def test_a_name_split_by_its_underscore_is_an_unknown_parameter() -> None:
    found = s3(STORAGE_S3_ACCESS_KEY="AKIA")
    assert found == s3()
    assert "Did you mean accesskey?" in dict(found.warnings)["storage.s3.access"]


def test_errors_name_the_variable() -> None:
    with pytest.raises(ParameterErrors, match=r"chunksize .*\(REGISTRY_STORAGE_S3_CHUNKSIZE\)"):
        s3(STORAGE_S3_CHUNKSIZE="5")


def test_parts_of_the_redis_section_of_version_3() -> None:
    found = merged(version="3", REDIS_USERNAME="a", REDIS_OPTIONS_PASSWORD="b", REDIS_ADDRS="[localhost]")
    assert found["redis"] == {"username": "a", "options": {"password": "b"}, "addrs": ["localhost"]}


# Lists


def test_lists_as_a_whole() -> None:
    found = s3(MIDDLEWARE_STORAGE="[{name: redirect, options: {baseurl: 'https://x.example'}}]")
    assert found.middleware == (RedirectMiddleware(baseurl="https://x.example"),)


def test_list_indices_in_version_3() -> None:
    found = s3("3", MIDDLEWARE_STORAGE_0_NAME="redirect", MIDDLEWARE_STORAGE_0_OPTIONS_BASEURL="https://x.example")
    assert found.middleware == (RedirectMiddleware(baseurl="https://x.example"),)


def test_an_index_changes_one_item() -> None:
    text = f"{FILE}http: {{tls: {{letsencrypt: {{hosts: [a, b]}}}}}}\n"
    found = merged(text, "3", HTTP_TLS_LETSENCRYPT_HOSTS_1="x", HTTP_TLS_LETSENCRYPT_HOSTS_2="z")
    assert found["http"]["tls"]["letsencrypt"]["hosts"] == ["a", "x", "z"]


@pytest.mark.parametrize(
    ("index", "words"), [("X", "non-numeric index: X"), ("1", "undefined index: 1"), ("²", "non-numeric")]
)
def test_it_refuses_a_bad_index(index: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        merged(version="3", **{f"MIDDLEWARE_STORAGE_{index}_NAME": "redirect"})


def test_indices_come_in_byte_order() -> None:
    names = {f"HTTP_TLS_CLIENTCAS_{index}": str(index) for index in range(11)}
    with pytest.raises(ConfigError, match=r"undefined index: 10; the list has 2 items so far.*10 comes before 2"):
        merged(version="3", **names)


@pytest.mark.parametrize("version", ["2.4", "2.8"])
def test_list_indices_are_ignored_before_version_3(version: str) -> None:
    found = s3(version, MIDDLEWARE_STORAGE_0_NAME="redirect")
    assert found.middleware == ()
    assert "REGISTRY_MIDDLEWARE_STORAGE='[value]'" in dict(found.warnings)["REGISTRY_MIDDLEWARE_STORAGE_0_NAME"]


# Sections below maintenance, in three forms


def test_readonly_made_from_a_name() -> None:
    assert merged(STORAGE_MAINTENANCE_READONLY_ENABLED="true")["storage"]["maintenance"] == {
        "readonly": {"enabled": True}
    }


@pytest.mark.parametrize(
    "environment",
    [
        {"STORAGE_MAINTENANCE": "{readonly: {enabled: true}}"},
        {"STORAGE_MAINTENANCE_READONLY": "{enabled: true}"},
        {"STORAGE_MAINTENANCE_READONLY_ENABLED": "true"},
    ],
)
def test_readonly_in_every_form(environment: dict[str, str]) -> None:
    assert s3(**environment).maintenance == Maintenance(readonly=True)


@pytest.mark.parametrize(
    "environment",
    [{"STORAGE_MAINTENANCE": "{readonly: {enabled: true}}"}, {"STORAGE_MAINTENANCE_READONLY": "{enabled: true}"}],
)
def test_the_forms_that_a_registry_takes_give_no_warning(environment: dict[str, str]) -> None:
    assert s3(**environment).warnings == ()


def test_the_form_that_stops_a_registry_gives_a_warning() -> None:
    warnings = dict(s3(STORAGE_MAINTENANCE_READONLY_ENABLED="true").warnings)
    message = warnings["REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED"]
    assert "refuses to start" in message
    assert "REGISTRY_STORAGE_MAINTENANCE_READONLY='{" in message


def test_the_form_that_a_registry_ignores_gives_a_warning() -> None:
    found = s3(text=f"{S3}{PURGING}", STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED="false")
    assert not found.maintenance.uploadpurging.enabled
    assert "registry ignores this" in dict(found.warnings)["REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED"]


def test_upload_purging_piece_by_piece() -> None:
    found = s3(
        STORAGE_MAINTENANCE_UPLOADPURGING_AGE="1h",
        STORAGE_MAINTENANCE_UPLOADPURGING_DRYRUN="false",
        STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED="false",
        STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL="2h",
    )
    assert found.maintenance.uploadpurging.enabled is False
    assert all("refuses to start" in message for _, message in found.warnings)


def test_upload_purging_off_by_one_name() -> None:
    found = s3(STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED="false")
    assert found.maintenance.uploadpurging == UploadPurging(enabled=False)


# Names and keys, letter by letter


@pytest.mark.parametrize(
    "value",
    [
        "012345",
        "1e5",
        "yes",
        "@hunter2",
        "*hunter2",
        "&hunter2 x",
        "!hunter2",
        "[hunter2",
        "{a: b}",
        "a: b",
        "a #b",
        "%x",
        "`x",
    ],
)
def test_a_secret_is_taken_letter_by_letter(value: str) -> None:
    found = s3(STORAGE_S3_ACCESSKEY="AKIA", STORAGE_S3_SECRETKEY=value)
    assert found.storage.secretkey.reveal() == value
    assert {name for name, _ in found.warnings} & {"REGISTRY_STORAGE_S3_SECRETKEY", "storage.s3.secretkey"}
    assert all(value not in message for _, message in found.warnings)


@pytest.mark.parametrize("value", ["'@hunter2'", '"@hunter2"', "'@hunter2'  # a comment"])
def test_a_quoted_secret_loses_its_quotes(value: str) -> None:
    found = s3(STORAGE_S3_ACCESSKEY="AKIA", STORAGE_S3_SECRETKEY=value)
    assert (found.storage.secretkey.reveal(), found.warnings) == ("@hunter2", ())


def test_an_ordinary_secret_gives_no_warning() -> None:
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY="
    found = s3(STORAGE_S3_ACCESSKEY="AKIAIOSFODNN7EXAMPLE", STORAGE_S3_SECRETKEY=secret)
    assert (found.storage.secretkey.reveal(), found.warnings) == (secret, ())


def test_an_empty_secret_is_none() -> None:
    assert s3(STORAGE_S3_ACCESSKEY="", STORAGE_S3_SECRETKEY="") == s3()


@pytest.mark.parametrize("name", ["BUCKET", "KEYID", "ACCESSKEY"])
def test_names_are_taken_letter_by_letter(name: str) -> None:
    found = s3(**{"STORAGE_S3_SECRETKEY": "x", "STORAGE_S3_ACCESSKEY": "y", f"STORAGE_S3_{name}": "012345"})
    assert getattr(found.storage, name.lower()) == "012345"


def test_other_parameters_are_yaml() -> None:
    with pytest.raises(ConfigError, match="REGISTRY_STORAGE_S3_ROOTDIRECTORY"):
        s3(STORAGE_S3_ROOTDIRECTORY="@x")


@pytest.mark.parametrize("name", ["ROOTDIRECTORY", "SECRETKEY"])
def test_bytes_that_are_no_text_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"REGISTRY_STORAGE_S3_{name}: the value is not UTF-8"):
        s3(**{f"STORAGE_S3_{name}": "\udcff"})


def test_a_name_that_is_no_text_does_no_harm() -> None:
    assert s3(**{"STORAGE_S3_\udcff": "1"}) == s3()
