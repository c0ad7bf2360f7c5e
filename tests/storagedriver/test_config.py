"""Reading a config.yml into typed sections: every section, every version, every trap."""

from __future__ import annotations

import contextlib
import pickle
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagedriver import DriverParameters, ParameterErrors, Secret
from storagedriver.config import (
    Cache,
    CloudFrontMiddleware,
    ConfigError,
    Delete,
    Maintenance,
    Redirect,
    RedirectMiddleware,
    RegistryConfig,
    RewriteMiddleware,
    Tag,
    UnknownMiddleware,
    UploadPurging,
    parse_config,
)
from storagedriver.parameters import VERSIONS

SAMPLE = """\
version: 0.1
storage:
  s3:
    accesskey: awsaccesskey
    secretkey: awssecretkey
    region: us-west-1
    regionendpoint: http://myobjects.local
    redirectendpoint: https://dl.example.org
    forcepathstyle: true
    accelerate: false
    usedualstack: false
    usefipsendpoint: false
    loglevel: "off"
    bucket: bucketname
    encrypt: true
    keyid: mykeyid
    secure: true
    skipverify: false
    v4auth: true
    chunksize: 5242880
    multipartcopychunksize: 33554432
    multipartcopymaxconcurrency: 100
    multipartcopythresholdsize: 33554432
    rootdirectory: /s3/object/name/prefix
    storageclass: STANDARD
    objectacl: private
    useragent: ""
  delete:
    enabled: false
  redirect:
    disable: false
  cache:
    blobdescriptor: inmemory
    blobdescriptorsize: 10000
  tag:
    concurrencylimit: 8
  maintenance:
    uploadpurging: {enabled: true, age: 168h, interval: 24h, dryrun: false}
    readonly: {enabled: false}
"""
CLOUDFRONT = "baseurl: https://d111.cloudfront.net, privatekey: /etc/key.pem, keypairid: K2JCJMDEHXQW5F"


def config(storage: str = "", parameters: str = "", middleware: str = "") -> str:
    """Return a config.yml: lines below storage, parameters of s3 and middlewares in flow style."""
    listed = f"middleware: {{storage: [{middleware}]}}\n" if middleware else ""
    given = f"{{region: us-east-1, bucket: images{', ' if parameters else ''}{parameters}}}"
    return f"version: 0.1\nstorage:\n  s3: {given}\n{storage}{listed}"


def refuse(text: str, version: str = "3") -> dict[str, list[str]]:
    with pytest.raises(ParameterErrors) as caught:
        parse_config(text, version)
    return dict(caught.value)


def warned(text: str, version: str = "3") -> dict[str, str]:
    return dict(parse_config(text, version).warnings)


def test_it_works() -> None:
    found = parse_config(SAMPLE, "3")
    assert found == RegistryConfig(
        storage=DriverParameters.parse(
            {
                "accesskey": "awsaccesskey",
                "secretkey": "awssecretkey",
                "region": "us-west-1",
                "regionendpoint": "http://myobjects.local",
                "redirectendpoint": "https://dl.example.org",
                "forcepathstyle": True,
                "bucket": "bucketname",
                "encrypt": True,
                "keyid": "mykeyid",
                "chunksize": 5242880,
                "rootdirectory": "/s3/object/name/prefix",
            },
            "3",
        ),
        redirect=Redirect(disable=False),
        delete=Delete(enabled=False),
        maintenance=Maintenance(uploadpurging=UploadPurging(age=timedelta(hours=168)), readonly=False),
        cache=Cache(blobdescriptor="inmemory", blobdescriptorsize=10_000),
        tag=Tag(concurrencylimit=8),
    )


def test_the_sample_gives_no_warning_but_the_parameters_own() -> None:
    found = parse_config(SAMPLE, "3")
    assert [(name.removeprefix("storage.s3."), text) for name, text in found.warnings] == list(found.storage.warnings)


@pytest.mark.parametrize("version", VERSIONS)
def test_absent_sections_mean_what_the_registry_does_by_itself(version: str) -> None:
    found = parse_config(config(), version)
    parameters = DriverParameters.parse({"region": "us-east-1", "bucket": "images"}, version)
    assert found == RegistryConfig(storage=parameters)


@pytest.mark.parametrize(("version", "v4auth"), [("2.4", False), ("2.8", True), ("3", True)])
def test_defaults_are_those_of_the_version(version: str, v4auth: bool) -> None:
    assert parse_config(config(), version).storage.v4auth is v4auth


def test_it_reads_bytes() -> None:
    assert parse_config(SAMPLE.encode(), "3") == parse_config(SAMPLE, "3")


def test_it_reads_json() -> None:
    text = '{"version": "0.1", "storage": {"s3": {"region": "us-east-1", "bucket": "images"}}}'
    assert parse_config(text, "3") == parse_config(config(), "3")


@pytest.mark.parametrize("version", ["0.2", "1", "'0.10'", "[0.1]", "~"])
def test_it_refuses_another_version_of_the_format(version: str) -> None:
    with pytest.raises(ConfigError, match="unsupported version"):
        parse_config(config().replace("0.1", version), "3")


def test_it_refuses_a_file_without_a_version() -> None:
    with pytest.raises(ConfigError, match='unsupported version: ""'):
        parse_config("storage: inmemory\n", "3")


def test_it_refuses_a_registry_it_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"version must be one of 2\.4, 2\.8, 3"):
        parse_config(config(), "4")


@pytest.mark.parametrize("text", ["version: 0.1\n", "version: 0.1\nstorage:\n", "version: 0.1\nStorage: s3\n"])
def test_it_refuses_a_file_without_storage(text: str) -> None:
    with pytest.raises(ConfigError, match="no storage configuration provided"):
        parse_config(text, "3")


def test_it_refuses_a_storage_section_without_a_driver() -> None:
    with pytest.raises(ConfigError, match="no storage configuration provided"):
        parse_config("version: 0.1\nstorage: {delete: {enabled: true}}\n", "3")


def test_it_refuses_two_drivers() -> None:
    with pytest.raises(ConfigError, match=r"must provide exactly one storage type\. Provided: \[s3 filesystem\]"):
        parse_config(config("  filesystem: {rootdirectory: /tmp}\n"), "3")


@pytest.mark.parametrize("version", ["2.4", "2.8"])
def test_the_tag_section_is_a_second_driver_before_version_3(version: str) -> None:
    with pytest.raises(ConfigError, match=r"Provided: \[s3 tag\]"):
        parse_config(config("  tag: {concurrencylimit: 8}\n"), version)


@pytest.mark.parametrize("text", ["storage: inmemory", "storage: {filesystem: {rootdirectory: /tmp}}", "storage: 5"])
def test_it_refuses_other_drivers(text: str) -> None:
    assert list(refuse(f"version: 0.1\n{text}\n")) == ["storage"]


def test_the_short_form_is_a_driver_without_parameters() -> None:
    assert list(refuse("version: 0.1\nstorage: s3\n")) == ["storage.s3.region", "storage.s3.bucket"]


@pytest.mark.parametrize(("name", "version"), [("s3aws", "2.4"), ("s3aws", "3"), ("s3goamz", "2.4")])
def test_the_drivers_other_names(name: str, version: str) -> None:
    assert parse_config(config().replace("s3:", f"{name}:"), version) == parse_config(config(), version)


def test_the_old_driver_is_gone_after_2_4() -> None:
    assert list(refuse(config().replace("s3:", "s3goamz:"), "2.8")) == ["storage"]


def test_every_error_comes_at_once_with_its_line() -> None:
    errors = refuse(
        "version: 0.1\nstorage:\n  s3:\n    chunksize: 5\n    encrypt: maybe\n  redirect: {disable: 'yes'}\n"
        "middleware:\n  storage:\n    - name: cloudfront\n      options: {duration: 20}\n"
    )
    assert {name: messages[0].rpartition("(")[2] for name, messages in errors.items() if "(line" in messages[0]} == {
        "storage.s3.chunksize": "line 4)",
        "storage.s3.encrypt": "line 5)",
        "storage.redirect.disable": "line 6)",
    }
    assert {
        "storage.s3.region",
        "storage.s3.bucket",
        "middleware.storage[0].options.baseurl",
        "middleware.storage[0].options.privatekey",
        "middleware.storage[0].options.keypairid",
    } < errors.keys()


# Parameters


@pytest.mark.parametrize("word", ["yes", "on", "Y", "true", "True", '"true"', '"1"', "'T'"])
def test_words_for_true(word: str) -> None:
    assert parse_config(config(parameters=f"encrypt: {word}"), "3").storage.encrypt is True


@pytest.mark.parametrize("word", ["'yes'", "oN", "1", '""', "[true]"])
def test_words_that_are_no_boolean(word: str) -> None:
    assert list(refuse(config(parameters=f"encrypt: {word}"))) == ["storage.s3.encrypt"]


@pytest.mark.parametrize(
    ("word", "version", "size"),
    [
        ("10485760", "3", 10485760),
        ("0x500000", "3", 5242880),
        ("024000000", "3", 5242880),
        ("5_242_880", "3", 5242880),
        ('"5242880"', "3", 5242880),
        ('"05242880"', "3", 5242880),
        ('"024000000"', "2.8", 5242880),
        ('"0x500000"', "2.8", 5242880),
    ],
)
def test_numbers_are_read_as_the_version_reads_them(word: str, version: str, size: int) -> None:
    assert parse_config(config(parameters=f"chunksize: {word}"), version).storage.chunksize == size


@pytest.mark.parametrize(
    ("word", "words"), [("6e6", "write 6000000"), ("024000000", "octal"), ('"0x500000"', "decimal")]
)
def test_numbers_that_mislead_give_a_warning(word: str, words: str) -> None:
    assert words in warned(config(parameters=f"chunksize: {word}"))["storage.s3.chunksize"]


def test_a_number_of_the_usual_form_gives_no_warning() -> None:
    assert warned(config(parameters="chunksize: 10485760")) == {}


@pytest.mark.parametrize("name", ["accesskey", "secretkey", "keyid", "bucket"])
def test_names_and_keys_stay_as_they_are_written(name: str) -> None:
    text = f"version: 0.1\nstorage: {{s3: {{region: us-east-1, bucket: images, encrypt: true, {name}: 012345}}}}\n"
    text = text.replace("bucket: images, ", "") if name == "bucket" else text
    other = {"accesskey": "secretkey: x", "secretkey": "accesskey: x"}.get(name, "v4auth: true")
    found = parse_config(text.replace("encrypt: true", f"encrypt: true, {other}"), "3")
    value = getattr(found.storage, name)
    assert (value.reveal() if isinstance(value, Secret) else value) == "012345"
    assert "in quotes" in dict(found.warnings)[f"storage.s3.{name}"]


def test_no_warning_about_a_secret_shows_it() -> None:
    found = parse_config(config(parameters="accesskey: x, secretkey: 0123456"), "3")
    assert all("0123456" not in text and "42798" not in text for _, text in found.warnings)


def test_other_texts_become_what_a_registry_reads() -> None:
    found = parse_config(config(parameters="rootdirectory: 012"), "3")
    assert found.storage.rootdirectory == "10"
    assert "reads 10 here" in dict(found.warnings)["storage.s3.rootdirectory"]


def test_nothing_is_the_default() -> None:
    text = config(parameters="accesskey: , secretkey: ~, chunksize: null, encrypt: , storageclass: ~")
    assert parse_config(text, "3") == parse_config(config(), "3")


def test_a_log_level_that_yaml_takes_for_false_is_off() -> None:
    assert parse_config(config(parameters="loglevel: off"), "3").storage.loglevel == "off"


@pytest.mark.parametrize("digits", ["9" * 5000, "0x" + "f" * 5000, "0" * 5000])
@pytest.mark.parametrize("quote", ["", "'"])
def test_a_number_of_thousands_of_digits_is_refused(digits: str, quote: str) -> None:
    assert list(refuse(config(parameters=f"chunksize: {quote}{digits}{quote}"))) == ["storage.s3.chunksize"]


@pytest.mark.parametrize("word", ["[a]", "{a: b}"])
def test_a_parameter_is_a_single_value(word: str) -> None:
    assert (
        "must be a single value" in refuse(config(parameters=f"rootdirectory: {word}"))["storage.s3.rootdirectory"][0]
    )


def test_unknown_parameters_give_a_warning_with_a_proposal() -> None:
    assert "Did you mean bucket?" in warned(config(parameters="bucke: x"))["storage.s3.bucke"]


def test_parameters_of_a_later_version_give_a_warning() -> None:
    assert "2.4 ignores skipverify" in warned(config(parameters="skipverify: false"), "2.4")["storage.s3.skipverify"]


# Other sections


@pytest.mark.parametrize("text", ["{}", "", "{disable: 'true'}", "{disable: }", "{disable: 1}", "{enabled: true}"])
def test_redirect_wants_a_boolean_as_soon_as_it_is_there(text: str) -> None:
    errors = refuse(config(f"  redirect: {text}\n"))
    assert list(errors) == ["storage.redirect.disable"]
    assert errors["storage.redirect.disable"][0].startswith("invalid type for redirect config")


def test_redirect_can_be_switched_off() -> None:
    assert parse_config(config("  redirect: {disable: yes}\n"), "3").redirect == Redirect(disable=True)


@pytest.mark.parametrize(
    ("word", "enabled"), [("true", True), ("on", True), ("false", False), ("'true'", False), ("1", False)]
)
def test_only_true_switches_deletion_on(word: str, enabled: bool) -> None:
    assert parse_config(config(f"  delete: {{enabled: {word}}}\n"), "3").delete.enabled is enabled


def test_a_text_that_looks_like_true_gives_a_warning() -> None:
    assert "Only true without quotes" in warned(config("  delete: {enabled: 'true'}\n"))["storage.delete.enabled"]


@pytest.mark.parametrize("name", ["delete", "redirect", "cache", "maintenance", "s3"])
def test_a_section_is_a_mapping(name: str) -> None:
    text = config(f"  {name}: word\n") if name != "s3" else "version: 0.1\nstorage: {s3: 5}\n"
    with pytest.raises(ConfigError, match=rf"storage\.{name} \(line \d\) must be a mapping"):
        parse_config(text, "3")


@pytest.mark.parametrize(
    ("text", "cache"),
    [
        ("{blobdescriptor: inmemory}", Cache(blobdescriptor="inmemory")),
        ("{layerinfo: inmemory}", Cache(blobdescriptor="inmemory")),
        ("{blobdescriptor: '', layerinfo: inmemory}", Cache()),
        ("{blobdescriptor: , layerinfo: inmemory}", Cache()),
        ("{blobdescriptor: memcached}", Cache(blobdescriptor="memcached")),
        ("{blobdescriptor: inmemory, blobdescriptorsize: -1}", Cache(blobdescriptor="inmemory", blobdescriptorsize=-1)),
        ("{blobdescriptor: inmemory, blobdescriptorsize: '5'}", Cache(blobdescriptor="inmemory", blobdescriptorsize=5)),
    ],
)
def test_the_cache(text: str, cache: Cache) -> None:
    assert parse_config(config(f"  cache: {text}\n"), "3").cache == cache


@pytest.mark.parametrize("word", ["memcached", "5", "", "[inmemory]"])
def test_a_cache_that_is_none_gives_a_warning(word: str) -> None:
    assert (
        "runs without a cache"
        in warned(config(f"  cache: {{blobdescriptor: {word}}}\n"))["storage.cache.blobdescriptor"]
    )


def test_a_redis_cache_needs_a_redis_section() -> None:
    text = config("  cache: {blobdescriptor: redis}\n")
    assert "storage.cache.blobdescriptor" in warned(text)
    assert "storage.cache.blobdescriptor" not in warned(text + "redis: {addrs: [localhost:6379]}\n")


@pytest.mark.parametrize("word", ["many", "1.5", "[1]", "true"])
def test_it_refuses_a_bad_size_of_the_cache(word: str) -> None:
    errors = refuse(config(f"  cache: {{blobdescriptor: inmemory, blobdescriptorsize: {word}}}\n"))
    assert errors["storage.cache.blobdescriptorsize"][0].startswith("invalid blobdescriptorsize value")


@pytest.mark.parametrize(("word", "words"), [("'8'", "a integer value"), ("true", "a integer"), ("-1", "non-negative")])
def test_it_refuses_a_bad_limit_of_tag_lookups(word: str, words: str) -> None:
    assert words in refuse(config(f"  tag: {{concurrencylimit: {word}}}\n"))["storage.tag.concurrencylimit"][0]


@pytest.mark.parametrize(
    ("text", "purging"),
    [
        ("{enabled: false}", UploadPurging(enabled=False)),
        ("{enabled: no, age: 5}", UploadPurging(enabled=False)),
        (
            "{enabled: true, age: 72h, interval: 1h30m, dryrun: yes}",
            UploadPurging(age=timedelta(hours=72), interval=timedelta(minutes=90), dryrun=True),
        ),
        ("{enabled: 'false', age: 168h, interval: 24h, dryrun: false}", UploadPurging()),
        ("{age: 168h, interval: 24h, dryrun: false}", UploadPurging()),
    ],
)
def test_upload_purging(text: str, purging: UploadPurging) -> None:
    found = parse_config(config(f"  maintenance: {{uploadpurging: {text}}}\n"), "2.8")
    assert found.maintenance == Maintenance(uploadpurging=purging)


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("{enabled: true, interval: 24h, dryrun: false}", ".age", "age missing"),
        ("{enabled: true, age: 1h, dryrun: false}", ".interval", "interval missing"),
        ("{enabled: true, age: 1h, interval: 24h}", ".dryrun", "dryrun missing"),
        ("{enabled: true, age: 5, interval: 24h, dryrun: false}", ".age", "age is not a string"),
        ("{enabled: true, age: 5h, interval: 0, dryrun: false}", ".interval", "interval is not a string"),
        ("{enabled: true, age: 5 days, interval: 24h, dryrun: false}", ".age", "Cannot parse age: invalid age"),
        ("{enabled: true, age: 5h, interval: 24h, dryrun: 'false'}", ".dryrun", "cannot parse dryrun"),
        ("true", "", "uploadpurging config key must contain additional keys"),
        ("", "", "uploadpurging config key must contain additional keys"),
    ],
)
def test_upload_purging_must_be_complete(text: str, name: str, words: str) -> None:
    errors = refuse(config(f"  maintenance:\n    uploadpurging: {text}\n"))
    assert list(errors) == [f"storage.maintenance.uploadpurging{name}"]
    assert words in errors[f"storage.maintenance.uploadpurging{name}"][0]


def test_readonly() -> None:
    found = parse_config(config("  maintenance: {readonly: {enabled: true}}\n"), "3")
    assert found.maintenance == Maintenance(readonly=True)


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("true", "", "readonly config key must contain additional keys"),
        ("{enabled: 'true'}", ".enabled", "readonly's enabled config key must have a boolean value"),
    ],
)
def test_it_refuses_a_bad_readonly(text: str, name: str, words: str) -> None:
    errors = refuse(config(f"  maintenance: {{readonly: {text}}}\n"))
    assert errors[f"storage.maintenance.readonly{name}"][0].startswith(words)


@pytest.mark.parametrize(
    ("storage", "place"),
    [
        ("  delete: {enable: true}\n", "storage.delete.enable"),
        ("  cache: {blobdescripter: inmemory}\n", "storage.cache.blobdescripter"),
        ("  maintenance: {readolny: {enabled: true}}\n", "storage.maintenance.readolny"),
        ("  maintenance: {readonly: {enabled: true, x: 1}}\n", "storage.maintenance.readonly.x"),
        ("middlewares: {}\n", "middlewares"),
    ],
)
def test_unknown_keys_give_a_warning(storage: str, place: str) -> None:
    assert place in warned(config(storage))


@pytest.mark.parametrize("text", ["log: {level: derp}\n", "loglevel: derp\n"])
def test_it_refuses_a_log_level_that_stops_a_registry(text: str) -> None:
    with pytest.raises(ConfigError, match=r"invalid loglevel derp Must be one of \[error, warn, info, debug\]"):
        parse_config(config(text), "3")


# Middlewares


def test_cloudfront_with_every_option() -> None:
    text = config(
        middleware=f"{{name: cloudfront, options: {{{CLOUDFRONT}, duration: 1h, ipfilteredby: AWSregion, "
        "awsregion: 'us-east-1, EU-west-1', updatefrequency: 6h, iprangesurl: https://ranges.example/ip.json}}"
    )
    (found,) = parse_config(text, "3").middleware
    assert found == CloudFrontMiddleware(
        baseurl="https://d111.cloudfront.net",
        privatekey="/etc/key.pem",
        keypairid="K2JCJMDEHXQW5F",
        duration=timedelta(hours=1),
        ipfilteredby="awsregion",
        awsregion=("us-east-1", "eu-west-1"),
        updatefrequency=timedelta(hours=6),
        iprangesurl="https://ranges.example/ip.json",
    )


def test_the_defaults_of_cloudfront() -> None:
    (found,) = parse_config(config(middleware=f"{{name: cloudfront, options: {{{CLOUDFRONT}}}}}"), "2.8").middleware
    assert isinstance(found, CloudFrontMiddleware)
    assert (found.duration, found.ipfilteredby, found.updatefrequency) == (
        timedelta(minutes=20),
        "none",
        timedelta(hours=12),
    )


@pytest.mark.parametrize(
    ("options", "name", "words"),
    [
        ("baseurl: 5", "baseurl", "baseurl must be a string"),
        ("baseurl: ftp://x", "baseurl", "invalid baseurl"),
        ("privatekey: [a]", "privatekey", "privatekey must be a string"),
        ('privatekey: "-----BEGIN RSA PRIVATE KEY-----"', "privatekey", "is the path of a PEM file"),
        ("keypairid: 12", "keypairid", "keypairid must be a string"),
        ("duration: '3000'", "duration", "invalid duration: 3000"),
        ("updatefrequency: soon", "updatefrequency", "invalid updatefrequency: soon"),
        (
            "ipfilteredby: gcp",
            "ipfilteredby",
            "ipfilteredby only allows a string the following value: none|aws|awsregion",
        ),
        ("ipfilteredby: [aws]", "ipfilteredby", "ipfilteredby only allows a string with the following value"),
        ("ipfilteredby: awsregion", "awsregion", "awsRegion is not defined"),
        ("awsregion: 5", "awsregion", "awsRegion must be a comma separated string of valid aws regions"),
        ("iprangesurl: 5", "iprangesurl", "iprangesurl must be a string"),
    ],
)
def test_it_refuses_bad_options_of_cloudfront(options: str, name: str, words: str) -> None:
    given = ", ".join(
        [options, *(item for item in CLOUDFRONT.split(", ") if not item.startswith(options.partition(":")[0]))]
    )
    errors = refuse(config(middleware=f"{{name: cloudfront, options: {{{given}}}}}"))
    assert list(errors) == [f"middleware.storage[0].options.{name}"]
    assert words in errors[f"middleware.storage[0].options.{name}"][0]


def test_a_key_pasted_for_its_path_is_not_shown() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----hunter2"
    text = config(middleware=f"{{name: cloudfront, options: {{{CLOUDFRONT.replace('/etc/key.pem', key)}}}}}")
    assert "hunter2" not in str(refuse(text))


def test_a_duration_without_unit_is_ignored_as_a_registry_does() -> None:
    text = config(middleware=f"{{name: cloudfront, options: {{{CLOUDFRONT}, duration: 3000}}}}")
    found = parse_config(text, "3")
    assert isinstance(found.middleware[0], CloudFrontMiddleware)
    assert found.middleware[0].duration == timedelta(minutes=20)
    assert "middleware.storage[0].options.duration" in dict(found.warnings)


@pytest.mark.parametrize("version", ["2.8", "3"])
def test_the_misspelt_update_frequency_is_meant(version: str) -> None:
    text = config(
        middleware=f"{{name: cloudfront, options: {{{CLOUDFRONT}, updatefrenquency: 6h, updatefrequency: 1h}}}}"
    )
    found = parse_config(text, version)
    assert isinstance(found.middleware[0], CloudFrontMiddleware)
    assert found.middleware[0].updatefrequency == timedelta(hours=6)
    assert found.middleware[0].duration == timedelta(minutes=20)
    assert "middleware.storage[0].options.updatefrenquency" in dict(found.warnings)


@pytest.mark.parametrize(
    ("option", "version"),
    [("ipfilteredby: aws", "2.4"), ("iprangesurl: https://x.example", "2.4"), ("updatefrequency: 1h", "2.8")],
)
def test_options_that_a_version_ignores_give_a_warning(option: str, version: str) -> None:
    text = config(middleware=f"{{name: cloudfront, options: {{{CLOUDFRONT}, {option}}}}}")
    assert f"middleware.storage[0].options.{option.partition(':')[0]}" in warned(text, version)


def test_cloudfront_comes_first() -> None:
    redirect = "{name: redirect, options: {baseurl: https://x.example}}"
    found = parse_config(config(middleware=f"{redirect}, {{name: cloudfront, options: {{{CLOUDFRONT}}}}}"), "3")
    assert [entry.name for entry in found.middleware] == ["cloudfront", "redirect"]
    assert "middleware.storage" in dict(found.warnings)


def test_redirect_and_rewrite() -> None:
    text = config(
        middleware="{name: rewrite, options: {scheme: https, host: cdn.example, trimpathprefix: /a}},"
        " {name: redirect, options: {baseurl: https://x.example/b}}"
    )
    assert parse_config(text, "3").middleware == (
        RewriteMiddleware(scheme="https", host="cdn.example", trimpathprefix="/a"),
        RedirectMiddleware(baseurl="https://x.example/b"),
    )


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ("{name: redirect, options: }", "options.baseurl"),
        ("{name: redirect, options: {baseurl: x.example}}", "options.baseurl"),
        ("{name: rewrite, options: {scheme: 1}}", "options.scheme"),
        ("{options: {baseurl: https://x.example}}", "name"),
        ("{name: redirect, disabled: 5, options: {baseurl: https://x.example}}", "disabled"),
    ],
)
def test_it_refuses_bad_middlewares(entry: str, place: str) -> None:
    assert list(refuse(config(middleware=entry))) == [f"middleware.storage[0].{place}"]


def test_an_unknown_middleware_is_kept() -> None:
    text = config(middleware="{name: mine, options: {a: 012, b: [x, {c: yes}]}}")
    found = parse_config(text, "3")
    assert found.middleware == (UnknownMiddleware(name="mine", options={"a": 10, "b": ["x", {"c": True}]}),)
    assert "middleware.storage[0].name" in dict(found.warnings)


def test_the_options_of_an_unknown_middleware_do_not_print() -> None:
    assert "hunter2" not in repr(parse_config(config(middleware="{name: mine, options: {key: hunter2}}"), "3"))


def test_rewrite_before_version_3_gives_a_warning() -> None:
    assert "refuses to start" in warned(config(middleware="{name: rewrite}"), "2.8")["middleware.storage[0].name"]


def test_disabled_is_kept_with_a_warning() -> None:
    text = config(middleware="{name: redirect, disabled: true, options: {baseurl: https://x.example}}")
    found = parse_config(text, "3")
    assert found.middleware[0].disabled
    assert "stays active" in dict(found.warnings)["middleware.storage[0].disabled"]


@pytest.mark.parametrize("text", ["middleware: {storage: {name: x}}", "middleware: [1]", "middleware: {storage: [x]}"])
def test_middlewares_are_a_list_of_mappings(text: str) -> None:
    with pytest.raises(ConfigError, match="must be a"):
        parse_config(config(f"{text}\n"), "3")


# Secrets and versions


def test_no_secret_prints_or_pickles() -> None:
    found = parse_config(config(parameters="accesskey: AKIA, secretkey: hunter2"), "3")
    assert "hunter2" not in f"{found!r} {found}"
    with pytest.raises(TypeError):
        pickle.dumps(found)


def test_a_tag_limit_belongs_to_version_3() -> None:
    storage = parse_config(config(), "2.8").storage
    with pytest.raises(ParameterErrors, match="takes the section tag for a second storage driver"):
        RegistryConfig(storage=storage, tag=Tag(concurrencylimit=1))


@pytest.mark.parametrize("version", ["2.4", "2.8"])
def test_an_endpoint_before_version_3_meant_path_style(version: str) -> None:
    found = parse_config(config(parameters="regionendpoint: https://minio.example, v4auth: true"), version)
    assert found.for_version("3").storage.forcepathstyle is True


def test_path_style_is_not_forced_on_amazon() -> None:
    assert parse_config(config(), "2.8").for_version("3").storage.forcepathstyle is None


def test_a_registry_2_4_signed_with_version_4_whatever_it_said() -> None:
    found = parse_config(config(), "2.4").for_version("3")
    assert found.storage.v4auth is True
    assert "storage.s3.v4auth" in dict(found.warnings)


def test_a_section_without_meaning_is_left_out_with_a_warning() -> None:
    found = parse_config(config("  tag: {concurrencylimit: 8}\n"), "3").for_version("2.8")
    assert found.tag == Tag()
    assert "storage.tag" in dict(found.warnings)


def test_what_a_version_refuses_is_an_error() -> None:
    found = parse_config(config(parameters="storageclass: INTELLIGENT_TIERING"), "3")
    with pytest.raises(ParameterErrors) as caught:
        found.for_version("2.8")
    assert list(caught.value) == ["storage.s3.storageclass"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_version_changes_nothing(version: str) -> None:
    found = parse_config(config(parameters="v4auth: true, regionendpoint: https://minio.example"), version)
    assert found.for_version(version) == found


def test_a_default_of_the_source_is_said_where_the_target_has_another() -> None:
    found = parse_config(config(parameters="regionendpoint: https://minio.example"), "3")
    assert found.for_version("2.4").storage.v4auth is True


# Hostile input

PIECES = st.sampled_from(
    [
        *(
            "version: 0.1\n",
            "storage:",
            "  s3:",
            "    region: us-east-1",
            "\n",
            " ",
            "  ",
            "\t",
            "-",
            "- ",
            ":",
            ": ",
            "#",
            ",",
        ),
        *("{", "}", "[", "]", "'", '"', "|", ">", "?", "&a ", "*a", "!", "%", "@", "`", "<<", "---\n", "...\n", "\r\n"),
        *(
            "middleware:",
            "  storage:",
            "  - name: cloudfront",
            "    options:",
            "delete",
            "redirect: {}",
            "cache",
            "tag",
        ),
        *(
            "maintenance:",
            "uploadpurging",
            "readonly",
            "enabled: true",
            "bucket: images",
            "chunksize: 1e400",
            "yes",
            "0x",
        ),
        *("\x00", "\x85", "\u2028", "\ufeff", "\ud800", "é", "😀", "9" * 5000),
    ]
)


@given(st.lists(PIECES, max_size=30).map("".join), st.sampled_from(VERSIONS))
def test_whatever_it_is_given_it_reads_or_refuses(text: str, version: str) -> None:
    with contextlib.suppress(ConfigError, ParameterErrors):
        assert isinstance(parse_config(f"version: 0.1\n{text}", version), RegistryConfig)


@given(
    st.dictionaries(
        st.lists(
            st.sampled_from(
                [
                    "STORAGE",
                    "S3",
                    "BUCKET",
                    "MAINTENANCE",
                    "READONLY",
                    "ENABLED",
                    "MIDDLEWARE",
                    "0",
                    "",
                    "HTTP",
                    "x",
                    "\udcff",
                ]
            ),
            max_size=5,
        ).map(lambda parts: "_".join(["REGISTRY", *parts])),
        st.lists(PIECES, max_size=4).map("".join),
        max_size=4,
    ),
    st.sampled_from(VERSIONS),
)
def test_whatever_the_variables_are_they_are_read_or_refused(environment: dict[str, str], version: str) -> None:
    with contextlib.suppress(ConfigError, ParameterErrors):
        assert isinstance(parse_config(config(), version, environment), RegistryConfig)
