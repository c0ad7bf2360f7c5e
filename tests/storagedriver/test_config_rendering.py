"""Writing a config.yml and variables: what is written reads back, and a file keeps everything that is not ours."""

from __future__ import annotations

import dataclasses
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from storagedriver import DriverParameters, ParameterErrors, Secret
from storagedriver.config import (
    Cache,
    CloudFrontMiddleware,
    ConfigError,
    Delete,
    Maintenance,
    Middleware,
    Redirect,
    RedirectMiddleware,
    RegistryConfig,
    RewriteMiddleware,
    Tag,
    UnknownMiddleware,
    UploadPurging,
    parse_config,
    render_config,
    render_environment,
)
from storagedriver.config.document import parse_document, plain_of, tree_of
from storagedriver.config.rendering import duration_text
from storagedriver.middleware.options import parse_duration
from storagedriver.parameters import OBJECT_ACLS, STORAGE_CLASSES, VERSIONS

# Everything a parameter can hold: no control characters, no blanks around it.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12).map(str.strip)
WORDS = st.sampled_from(
    ["012345", "1e5", "yes", "off", "~", "null", "@a", "*a", "&a b", "a: b", "a #b", "{a", "'a'", '"', "-"]
)
FILLED = (TEXT | WORDS).filter(bool)
SIZES = st.integers(5 * 2**20, 5 * 2**30)
DURATIONS = st.timedeltas(timedelta(microseconds=1), timedelta(days=36_500))
HOSTS = st.sampled_from(["x.example", "cdn.example:8443", "10.0.0.1"])


@st.composite
def parameters(draw: st.DrawFn, version: str) -> DriverParameters:
    values: dict[str, Any] = {
        "region": draw(st.sampled_from(["us-east-1", "eu-west-1"])),
        "bucket": draw(st.sampled_from(["images", "012345"])),
    }
    if draw(st.booleans()):
        values |= {"accesskey": draw(FILLED), "secretkey": draw(FILLED), "sessiontoken": draw(TEXT)}
    options = {
        "regionendpoint": HOSTS | HOSTS.map(lambda host: f"http://{host}"),
        "redirectendpoint": HOSTS.map(lambda host: f"https://{host}"),
        "rootdirectory": TEXT | WORDS | st.just(" a "),
        "useragent": TEXT | WORDS,
        "keyid": TEXT | WORDS,
        "storageclass": st.sampled_from(STORAGE_CLASSES[version]),
        "objectacl": st.sampled_from(OBJECT_ACLS),
        "loglevel": st.sampled_from(["off", "debug"]),
        "multipartcopymaxconcurrency": st.integers(1, 2**63 - 1),
        "multipartcopythresholdsize": st.integers(0, 5 * 2**30),
        "concurrency": st.integers(1, 64),
        **dict.fromkeys(("chunksize", "multipartcopychunksize"), SIZES),
        **dict.fromkeys(
            (
                "encrypt",
                "secure",
                "skipverify",
                "v4auth",
                "forcepathstyle",
                "usedualstack",
                "usefipsendpoint",
                "accelerate",
            ),
            st.booleans(),
        ),
    }
    values |= draw(st.fixed_dictionaries({}, optional=options))
    try:
        return DriverParameters.parse(values, version)
    except ParameterErrors:
        assume(False)
        raise


def cloudfronts() -> st.SearchStrategy[CloudFrontMiddleware]:
    return st.builds(
        CloudFrontMiddleware,
        baseurl=HOSTS.map(lambda host: f"https://{host}/base"),
        privatekey=FILLED,
        keypairid=FILLED,
        duration=DURATIONS,
        ipfilteredby=st.sampled_from(["none", "aws", "awsregion"]),
        awsregion=st.just(("us-east-1",)) | st.just(("eu-west-1", "eu-west-2")),
        updatefrequency=DURATIONS,
        iprangesurl=HOSTS.map(lambda host: f"https://{host}/ip-ranges.json"),
        disabled=st.booleans(),
    )


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | TEXT | WORDS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXT, values, max_size=3),
    max_leaves=5,
)
MIDDLEWARES: st.SearchStrategy[list[Middleware]] = st.lists(
    cloudfronts()
    | st.builds(RedirectMiddleware, baseurl=HOSTS.map(lambda host: f"https://{host}/b"), disabled=st.booleans())
    | st.builds(RewriteMiddleware, scheme=st.sampled_from(["", "https"]), host=HOSTS | st.just(""), trimpathprefix=TEXT)
    | st.builds(
        UnknownMiddleware, name=st.sampled_from(["mine", "yes", "7"]), options=st.dictionaries(TEXT, PLAIN, max_size=3)
    ),
    max_size=3,
)


@st.composite
def configs(draw: st.DrawFn, version: str) -> RegistryConfig:
    return RegistryConfig(
        storage=draw(parameters(version)),
        middleware=tuple(draw(MIDDLEWARES)),
        redirect=Redirect(disable=draw(st.booleans())),
        delete=Delete(enabled=draw(st.booleans())),
        maintenance=Maintenance(
            uploadpurging=draw(
                st.builds(UploadPurging, enabled=st.booleans(), age=DURATIONS, interval=DURATIONS, dryrun=st.booleans())
            ),
            readonly=draw(st.booleans()),
        ),
        cache=Cache(
            blobdescriptor=draw(st.sampled_from(["", "inmemory", "redis", "memcached"])),
            blobdescriptorsize=draw(st.integers(-1, 2**40)),
        ),
        tag=Tag(concurrencylimit=draw(st.integers(0, 2**40))) if version == "3" else Tag(),
    )


@st.composite
def pairs(draw: st.DrawFn) -> tuple[RegistryConfig, RegistryConfig]:
    version = draw(st.sampled_from(VERSIONS))
    return draw(configs(version)), draw(configs(version))


CONFIGS = st.sampled_from(VERSIONS).flatmap(configs)

# Layouts of a file, each with what is not ours. "{}" is where the comment of a line goes.
COMMENTED = """\
# The registry of the team.
version: 0.1

log: {level: info}   # not ours
storage:   # ours
    # the driver
    s3:
        region: "us-east-1"   # where
        bucket: images
        chunksize: 10_485_760   # ten
        frobnicate: yes   # unknown
        # the last of s3
    delete:
        enabled: on   # yes

    maintenance:
        # purging
        uploadpurging:
            enabled: true
            age: 168h   # a week
            interval: 24h
            dryrun: no
            other: [1, 2]   # unknown
# between
middleware:
    registry:
      - name: other   # not ours
    storage:
        # the mirror
        - name: redirect   # unsigned
          options: {baseurl: "https://x.example"}   # where to
        # the distribution
        - name: cloudfront
          options:
              baseurl: https://d111.cloudfront.net   # the address
              privatekey: /etc/key.pem
              keypairid: K2JCJMDEHXQW5F
              duration: 20m
              extra: 1   # unknown
        # below the list
notes: |
  text # no comment

  more
# the end
"""
LAYOUTS = {
    "commented": COMMENTED,
    "windows": COMMENTED.replace("\n", "\r\n"),
    "byte order mark": f"\ufeff{COMMENTED}",
    "without a last line end": COMMENTED.removesuffix("\n# the end\n") + "\nlast: 1 # the end",
    "indentless list": "version: 0.1\nstorage:\n  s3:\n    region: us-east-1\n    bucket: images\nmiddleware:\n  storage:\n  - name: redirect\n    options:\n      baseurl: https://x.example\n  -\n    # inside\n    name: mine\n    options: {}\n",
    "json": '{"version": "0.1", "storage": {"s3": {"region": "us-east-1", "bucket": "images"}}, "middleware": {"storage": [{"name": "redirect", "options": {"baseurl": "https://x.example"}}]}}\n',
    "flow over lines": "version: 0.1\nstorage: {s3: { # one\n    region: us-east-1, # two\n    bucket: images # three\n  }, delete: {enabled: true}}\n",
    "nothing but a version": "version: 0.1 # only\n",
    "nothing": "",
    "comments": "# nothing\n\n# here\n",
    "document marks": "---\nversion: 0.1\nstorage:\n  s3: {region: us-east-1, bucket: images}\n...\n",
    "empty values": "version: 0.1\nstorage:\n  s3:   # nothing\n  delete:\nmiddleware:   # nothing\nhttp:\n  addr: :5000\n",
    "short form": "version: 0.1\nstorage: inmemory   # short\nhttp: {addr: ':5000'}\n",
    "another driver": "version: 0.1\nstorage:\n  # the disk\n  filesystem:\n    rootdirectory: /x\n  delete: {enabled: true}\n",
    "another driver in flow": "version: 0.1\nstorage: {filesystem: {rootdirectory: /x}, delete: {enabled: true}}\n",
    "the driver's other name": "version: 0.1\nstorage:\n  s3aws:\n    region: us-east-1\n    bucket: images\n",
    "a section of version 3": "version: 0.1\nstorage:\n  s3: {region: us-east-1, bucket: images}\n  tag: {concurrencylimit: 3}\n",
    "refused values": "version: 0.1\nstorage:\n  s3:\n    region: [a]\n    chunksize: 5\n    encrypt: {a: b}\n  redirect: {}\n  maintenance:\n    readonly: yes\n    uploadpurging: {age: 5}\nmiddleware:\n  storage:\n    - name: cloudfront\n      options: {duration: never}\n",
    "middlewares that are none": "version: 0.1\nstorage:\n  s3: {region: us-east-1, bucket: images}\nmiddleware:\n  storage:\n    - word\n",
    "misread values": "version: 0.1\nstorage:\n  s3:\n    region: us-east-1\n    bucket: 0123\n    accesskey: 1e5\n    secretkey: 012345\n    chunksize: 1e7\n    keyid: yes\n",
    "misspelt": "version: 0.1\nstorage: {s3: {region: us-east-1, bucket: images}}\nmiddleware:\n  storage:\n    - name: cloudfront\n      options:\n        baseurl: https://d111.cloudfront.net\n        privatekey: /k\n        keypairid: K\n        updatefrenquency: 6h # typo\n",
    "old cache": "version: 0.1\nstorage:\n  s3: {region: us-east-1, bucket: images}\n  cache:\n    layerinfo: inmemory\n",
    "texts over lines": 'version: 0.1\nstorage:\n  s3:\n    region: us-east-1\n    bucket:\n      images\n    rootdirectory: "a\n      b"\n    useragent: |\n      agent\n  delete: {enabled: true}\n',
    "strange keys": "version: 0.1\nstorage:\n  \"s3\" :\n    ? region\n    : us-east-1\n    'bucket' : images\n",
}


def comments(text: str) -> list[str]:
    return re.findall(r"#[^\r\n]*", text)


@given(CONFIGS)
def test_what_is_written_reads_back(config: RegistryConfig) -> None:
    assert parse_config(render_config(config), config.version) == config


@given(CONFIGS)
def test_variables_read_back(config: RegistryConfig) -> None:
    assert parse_config(version=config.version, environment=render_environment(config)) == config


@given(CONFIGS, st.sampled_from(["commented", "json", "another driver", "old cache", "misread values"]))
def test_variables_say_everything_over_any_file(config: RegistryConfig, layout: str) -> None:
    environment = render_environment(config) | {"PATH": "/bin"}
    assert parse_config(LAYOUTS[layout], config.version, environment) == config


@given(CONFIGS, st.sampled_from(sorted(LAYOUTS)))
def test_a_file_is_made_to_say_it(config: RegistryConfig, layout: str) -> None:
    assert parse_config(render_config(config, LAYOUTS[layout]), config.version) == config


@given(pairs())
def test_one_configuration_is_made_another(pair: tuple[RegistryConfig, RegistryConfig]) -> None:
    before, after = pair
    assert parse_config(render_config(after, render_config(before)), after.version) == after


@given(CONFIGS, st.sampled_from(sorted(LAYOUTS)))
def test_a_second_writing_changes_nothing(config: RegistryConfig, layout: str) -> None:
    once = render_config(config, LAYOUTS[layout])
    assert render_config(config, once) == once


@pytest.mark.parametrize("layout", ["json", "document marks", "old cache", "indentless list", "texts over lines"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_that_says_it_already_stays_as_it_is(layout: str, version: str) -> None:
    assert render_config(parse_config(LAYOUTS[layout], version), LAYOUTS[layout]) == LAYOUTS[layout]


@pytest.mark.parametrize("layout", ["commented", "windows", "byte order mark"])
def test_only_what_must_move_is_moved(layout: str) -> None:
    text = render_config(parse_config(LAYOUTS[layout], "3"), LAYOUTS[layout])
    assert sorted(text.splitlines()) == sorted(LAYOUTS[layout].splitlines())


@given(CONFIGS)
def test_comments_and_unknown_keys_stay(config: RegistryConfig) -> None:
    kept = [RedirectMiddleware(baseurl="https://x.example"), *config.middleware]
    cloudfront = CloudFrontMiddleware(baseurl="https://d222.cloudfront.net", privatekey="/k", keypairid="K")
    text = render_config(dataclasses.replace(config, middleware=(cloudfront, *kept)), COMMENTED)
    assert sorted(set(comments(COMMENTED)) - set(comments(text))) == []
    before, after = (plain_of(tree_of(parse_document(each)[1])) for each in (COMMENTED, text))  # type: ignore[arg-type]
    for name in ("log", "notes"):
        assert after[name] == before[name]
    assert after["middleware"]["registry"] == before["middleware"]["registry"]
    assert after["storage"]["s3"]["frobnicate"] is True
    assert after["storage"]["maintenance"]["uploadpurging"]["other"] == [1, 2]
    assert (
        next(entry for entry in after["middleware"]["storage"] if entry["name"] == "cloudfront")["options"]["extra"]
        == 1
    )


def change(config: RegistryConfig, **values: object) -> RegistryConfig:
    return dataclasses.replace(config, storage=dataclasses.replace(config.storage, **values))  # type: ignore[arg-type]


def differing_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


@pytest.fixture
def ordered() -> str:
    """Return the commented file with cloudfront in front."""
    return render_config(parse_config(COMMENTED, "3"), COMMENTED)


def test_one_change_is_one_line(ordered: str) -> None:
    text = render_config(change(parse_config(ordered, "3"), chunksize=2**24), ordered)
    assert differing_lines(ordered, text) == (
        ["        chunksize: 10_485_760   # ten"],
        ["        chunksize: 16777216   # ten"],
    )


def test_a_new_parameter_is_one_line_below_the_others(ordered: str) -> None:
    text = render_config(change(parse_config(ordered, "3"), rootdirectory="yes"), ordered)
    assert differing_lines(ordered, text) == ([], ['        rootdirectory: "yes"'])
    assert '# unknown\n        rootdirectory: "yes"\n        # the last of s3\n' in text


def test_entries_move_with_their_comments(ordered: str) -> None:
    assert ordered.index("# the distribution") < ordered.index("name: cloudfront") < ordered.index("# the mirror")
    assert ordered.index("# the mirror") < ordered.index("name: redirect") < ordered.index("# below the list")


def test_an_entry_goes_with_its_comments(ordered: str) -> None:
    config = parse_config(ordered, "3")
    text = render_config(dataclasses.replace(config, middleware=config.middleware[:1]), ordered)
    assert set(comments(ordered)) - set(comments(text)) == {"# the mirror", "# unsigned", "# where to"}


def test_the_last_entry_leaves_an_empty_list(ordered: str) -> None:
    text = render_config(dataclasses.replace(parse_config(ordered, "3"), middleware=()), ordered)
    assert "    storage: []\n" in text


def test_line_ends_stay_as_they_are() -> None:
    config = change(parse_config(LAYOUTS["windows"], "3"), rootdirectory="x", chunksize=2**24)
    text = render_config(config, LAYOUTS["windows"])
    assert text.count("\n") == text.count("\r\n")


def test_upload_purging_is_written_whole() -> None:
    config = parse_config("version: 0.1\nstorage: {s3: {region: us-east-1, bucket: images}}\n", "2.8")
    purging = Maintenance(uploadpurging=UploadPurging(enabled=False))
    assert render_config(dataclasses.replace(config, maintenance=purging)) == (
        "version: 0.1\n"
        "storage:\n"
        "  s3:\n"
        '    region: "us-east-1"\n'
        '    bucket: "images"\n'
        "  maintenance:\n"
        "    uploadpurging:\n"
        "      enabled: false\n"
        '      age: "168h"\n'
        '      interval: "24h"\n'
        "      dryrun: false\n"
    )


def test_the_region_is_always_written() -> None:
    storage = DriverParameters.parse({"regionendpoint": "https://minio.example", "bucket": "images"}, "3")
    assert '    region: "us-east-1"\n' in render_config(RegistryConfig(storage=storage))


def test_an_endpoint_going_to_version_3_keeps_its_path_style() -> None:
    text = "version: 0.1\nstorage:\n  s3: {region: us-east-1, bucket: images, regionendpoint: https://minio.example}\n"
    assert "{forcepathstyle: true, region: us-east-1," in render_config(
        parse_config(text, "2.8").for_version("3"), text
    )


def test_a_section_that_breaks_an_older_version_goes() -> None:
    text = LAYOUTS["a section of version 3"]
    assert "tag" not in render_config(parse_config(text, "3").for_version("2.8"), text)


def test_what_a_registry_would_misread_is_written_so_that_it_does_not() -> None:
    text = render_config(parse_config(LAYOUTS["misread values"], "3"), LAYOUTS["misread values"])
    assert text == (
        "version: 0.1\nstorage:\n  s3:\n    region: us-east-1\n"
        '    bucket: "0123"\n    accesskey: "1e5"\n    secretkey: "012345"\n    chunksize: 10000000\n    keyid: "yes"\n'
    )


def test_the_misspelt_option_goes_when_its_value_changes() -> None:
    config = parse_config(LAYOUTS["misspelt"], "3")
    (cloudfront,) = config.middleware
    other = dataclasses.replace(
        config, middleware=(dataclasses.replace(cloudfront, updatefrequency=timedelta(hours=1)),)
    )  # type: ignore[call-arg]
    text = render_config(other, LAYOUTS["misspelt"])
    assert 'updatefrequency: "1h"' in text
    assert "updatefrenquency" not in text


def test_a_file_that_is_no_yaml_is_refused() -> None:
    config = parse_config(LAYOUTS["json"], "3")
    with pytest.raises(ConfigError, match="line 1"):
        render_config(config, "a: [")


def test_variables_are_bare_where_they_read_as_themselves() -> None:
    values = {"region": "us-east-1", "bucket": "images", "accesskey": "AKIAIOSFODNN7EXAMPLE", "secretkey": "012345"}
    storage = DriverParameters.parse(values | {"regionendpoint": "https://minio.example:9000"}, "2.8")
    config = RegistryConfig(storage=storage, maintenance=Maintenance(readonly=True))
    assert render_environment(config) == {
        "REGISTRY_STORAGE": "s3",
        "REGISTRY_STORAGE_S3_ACCESSKEY": "AKIAIOSFODNN7EXAMPLE",
        "REGISTRY_STORAGE_S3_SECRETKEY": '"012345"',
        "REGISTRY_STORAGE_S3_REGION": "us-east-1",
        "REGISTRY_STORAGE_S3_REGIONENDPOINT": "https://minio.example:9000",
        "REGISTRY_STORAGE_S3_BUCKET": "images",
        "REGISTRY_STORAGE_MAINTENANCE_READONLY": "{enabled: true}",
        "REGISTRY_MIDDLEWARE_STORAGE": "[]",
    }


@given(CONFIGS)
def test_variables_need_no_kindness(config: RegistryConfig) -> None:
    """What is written is what a registry reads: none of its names draws a warning about a variable."""
    found = parse_config(version=config.version, environment=render_environment(config))
    assert [name for name, _ in found.warnings if name.startswith("REGISTRY_")] == []


@given(DURATIONS)
def test_durations_read_back(duration: timedelta) -> None:
    assert parse_duration(duration_text(duration)) == duration


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(hours=168), "168h"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(seconds=1.5), "1s500000us"),
        (timedelta(0), "0s"),
    ],
)
def test_durations_are_written_as_go_reads_them(duration: timedelta, text: str) -> None:
    assert duration_text(duration) == text


def test_secrets_are_written() -> None:
    storage = DriverParameters.parse(
        {"region": "us-east-1", "bucket": "images", "accesskey": "a", "secretkey": "b"}, "3"
    )
    assert storage.secretkey == Secret("b")
    assert '    secretkey: "b"\n' in render_config(RegistryConfig(storage=storage))
