"""Parameters: defaults, coercion, limits and wording per registry version; secrets; bucket names."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storagedriver import DriverParameters, ParameterErrors, Secret, bucket_problems
from storagedriver.parameters import PARAMETERS, STORAGE_CLASSES, VERSIONS

MINIMUM = {"region": "us-east-1", "bucket": "images"}
MINIO = MINIMUM | {"regionendpoint": "https://minio.example.com:9000"}


def parse(version: str = "2.4", base: dict[str, str] = MINIMUM, **values: object) -> DriverParameters:
    return DriverParameters.parse(base | values, version=version)


def refuse(version: str = "2.4", base: dict[str, str] = MINIMUM, **values: object) -> ParameterErrors:
    with pytest.raises(ParameterErrors) as caught:
        parse(version, base, **values)
    return caught.value


def warned(parameters: DriverParameters) -> set[str]:
    return {warning.field for warning in parameters.warnings}


def test_defaults_of_the_original_documentation() -> None:
    parameters = parse()
    found = {
        name: getattr(parameters, name)
        for name in (
            "encrypt",
            "secure",
            "v4auth",
            "chunksize",
            "rootdirectory",
            "storageclass",
            "keyid",
            "regionendpoint",
        )
    }
    assert found == {
        "encrypt": False,
        "secure": True,
        "v4auth": False,
        "chunksize": 10485760,
        "rootdirectory": "",
        "storageclass": "STANDARD",
        "keyid": "",
        "regionendpoint": "",
    }


@pytest.mark.parametrize(("version", "v4auth"), [("2.4", False), ("2.8", True), ("3", True)])
def test_v4auth_by_version(version: str, v4auth: bool) -> None:
    assert parse(version).v4auth is v4auth


def test_an_unknown_version_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="version must be one of"):
        parse("4")


def test_all_errors_come_at_once_per_field() -> None:
    errors = refuse(base={}, encrypt="maybe", chunksize=1, storageclass="GOLD", bucket="A")
    assert set(errors) == {"region", "bucket", "encrypt", "chunksize", "storageclass"}
    assert len(errors["bucket"]) == 2
    assert "no region parameter provided" in str(errors)


class TestRequired:
    def test_region(self) -> None:
        assert refuse(region="")["region"][0].startswith("no region parameter provided")

    def test_bucket(self) -> None:
        assert refuse(bucket="")["bucket"][0].startswith("no bucket parameter provided")

    def test_none_is_absent(self) -> None:
        assert parse(encrypt=None, chunksize=None).chunksize == 10485760

    def test_an_endpoint_needs_no_region_in_version_3(self) -> None:
        assert parse("3", base={"bucket": "images", "regionendpoint": "http://minio"}).region == "us-east-1"

    def test_an_endpoint_needs_a_region_before(self) -> None:
        assert "us-east-1" in refuse("2.8", base={"bucket": "images", "regionendpoint": "http://minio"})["region"][0]


class TestBooleans:
    @pytest.mark.parametrize("value", [True, "1", "t", "T", "TRUE", "true", "True"])
    def test_true(self, value: object) -> None:
        assert parse(encrypt=value).encrypt is True

    @pytest.mark.parametrize("value", [False, "0", "f", "F", "FALSE", "false", "False"])
    def test_false(self, value: object) -> None:
        assert parse(secure=value).secure is False

    @pytest.mark.parametrize("value", ["yes", "on", "", 1, 0, [], "TrUe"])
    def test_anything_else_is_refused(self, value: object) -> None:
        assert refuse(secure=value)["secure"] == ["the secure parameter should be a boolean; write true or false"]


class TestIntegers:
    @pytest.mark.parametrize(
        ("value", "size"), [(5242880, 5242880), ("5242880", 5242880), ("0x500000", 5242880), (1.048576e7, 10485760)]
    )
    def test_it_takes_numbers_and_their_texts(self, value: object, size: int) -> None:
        assert parse(chunksize=value).chunksize == size

    @pytest.mark.parametrize("value", ["10MB", "", True, [], 1.5, float("nan"), float("inf")])
    def test_it_refuses_what_is_no_integer(self, value: object) -> None:
        assert "chunksize parameter must be an integer" in refuse(chunksize=value)["chunksize"][0]

    @pytest.mark.parametrize(
        ("name", "low", "high"),
        [
            ("chunksize", 5242880, 5368709120),
            ("multipartcopychunksize", 5242880, 5368709120),
            ("multipartcopymaxconcurrency", 1, 2**63 - 1),
            ("multipartcopythresholdsize", 0, 5368709120),
        ],
    )
    def test_limits(self, name: str, low: int, high: int) -> None:
        assert [getattr(parse("2.8", **{name: value}), name) for value in (low, high)] == [low, high]
        for value in (low - 1, high + 1):
            expected = f"the {name} {value} parameter should be a number between {low} and {high} (inclusive)"
            assert refuse("2.8", **{name: value})[name] == [expected]

    def test_the_wording_of_2_4(self) -> None:
        expected = "The chunksize 100 parameter should be a number that is larger than or equal to 5242880"
        assert refuse(chunksize=100)["chunksize"] == [expected]


class TestStorageClass:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_each_version_takes_its_classes(self, version: str) -> None:
        taken = [parse(version, storageclass=name.lower()).storageclass for name in STORAGE_CLASSES[version]]
        assert taken == list(STORAGE_CLASSES[version])

    def test_a_class_of_a_later_version_is_refused(self) -> None:
        message = refuse(storageclass="STANDARD_IA")["storageclass"][0]
        assert message.startswith(
            "the storageclass parameter must be one of [STANDARD REDUCED_REDUNDANCY], STANDARD_IA"
        )

    @pytest.mark.parametrize("value", ["GLACIER", "DEEP_ARCHIVE", "", 7])
    def test_others_are_refused(self, value: object) -> None:
        assert "storageclass" in refuse("3", storageclass=value)


class TestRegion:
    def test_an_unknown_region_is_a_warning_with_a_suggestion(self) -> None:
        parameters = parse("3", region="eu-centrall-1")
        (warning,) = parameters.warnings
        assert warning == ("region", "eu-centrall-1 is not a known region. Did you mean eu-central-1?")

    @pytest.mark.parametrize("region", ["us east 1", "us-east-1.evil.example", "US/east", "<nil>"])
    def test_a_region_that_would_change_the_host_is_refused(self, region: str) -> None:
        assert refuse("3", region=region)["region"][0].startswith("invalid region provided: ")

    def test_any_name_goes_with_an_endpoint(self) -> None:
        assert warned(parse("3", base=MINIO, region="garage", forcepathstyle=True)) == set()


class TestSignature:
    @pytest.mark.parametrize("region", ["eu-central-1", "ap-south-1", "us-east-2", "me-south-1", "cn-north-1"])
    def test_version_2_is_refused_in_later_regions(self, region: str) -> None:
        assert refuse(region=region)["v4auth"] == [
            f"region {region} takes only signature version 4; set v4auth to true"
        ]

    def test_version_2_in_an_old_region_is_a_warning(self) -> None:
        assert warned(parse(region="us-west-2")) == {"v4auth"}

    def test_version_4_is_fine_everywhere(self) -> None:
        assert warned(parse(region="eu-central-1", v4auth=True)) == set()

    @pytest.mark.parametrize("version", ["2.8", "3"])
    def test_later_registries_refuse_version_2_on_amazon(self, version: str) -> None:
        expected = "on Amazon S3 this storage driver can only be used with v4 authentication"
        assert refuse(version, v4auth=False)["v4auth"][0].startswith(expected)

    def test_version_2_on_another_service_is_a_warning(self) -> None:
        assert "v4auth" in warned(parse("2.8", base=MINIO, v4auth=False))

    def test_an_amazon_endpoint_counts_as_amazon(self) -> None:
        assert "v4auth" in refuse("2.8", regionendpoint="https://s3.eu-west-1.amazonaws.com", v4auth=False)


class TestEndpoint:
    @pytest.mark.parametrize(
        ("values", "url"),
        [
            ({"regionendpoint": "minio:9000"}, "https://minio:9000"),
            ({"regionendpoint": "minio:9000", "secure": False}, "http://minio:9000"),
            ({"regionendpoint": "http://minio:9000/"}, "http://minio:9000"),
            ({"regionendpoint": "http://[::1]:9000"}, "http://[::1]:9000"),
            ({}, None),
        ],
    )
    def test_the_url(self, values: dict[str, object], url: str | None) -> None:
        assert parse("3", **values).endpoint_url == url

    @pytest.mark.parametrize(
        "endpoint",
        [
            "ftp://minio",
            "http://",
            "http://user:password@minio",
            "http://minio/base",
            "http://minio?query",
            "http://minio:99999",
            "http://mi nio",
            "http://[::1",
            "http://[zz]",
            "http://minio\n",
            "http://minio\\@evil",
            "file:///etc/passwd",
        ],
    )
    def test_anything_but_scheme_host_and_port_is_refused(self, endpoint: str) -> None:
        if endpoint.endswith("\n"):
            assert parse("3", regionendpoint=endpoint).endpoint_url == "http://minio"
        else:
            assert "regionendpoint" in refuse("3", regionendpoint=endpoint)

    @pytest.mark.parametrize(
        ("endpoint", "text"),
        [
            ("public.example.com", "no scheme specified for redirectendpoint"),
            ("https://", "no host specified for redirectendpoint"),
            ("https://public.example.com/base", "redirectendpoint cannot contain a base path: /base"),
            ("https://public.example.com?a=b", "redirectendpoint cannot contain query parameters"),
        ],
    )
    def test_the_redirect_endpoint(self, endpoint: str, text: str) -> None:
        assert refuse("3", redirectendpoint=endpoint)["redirectendpoint"][0].startswith(text)

    @pytest.mark.parametrize(
        ("values", "style"),
        [
            ({}, "virtual"),
            ({"bucket": "my.bucket"}, "path"),
            ({"bucket": "my.bucket", "secure": False}, "virtual"),
            ({"regionendpoint": "http://minio"}, "path"),
            ({"regionendpoint": "https://s3.eu-west-1.amazonaws.com"}, "virtual"),
            ({"regionendpoint": "https://s3.amazonaws.com.evil.example"}, "path"),
            ({"regionendpoint": "http://minio", "forcepathstyle": False}, "virtual"),
            ({"forcepathstyle": "true"}, "path"),
        ],
    )
    def test_the_addressing_style(self, values: dict[str, object], style: str) -> None:
        assert parse("3", **values).addressing_style == style


class TestCredentials:
    def test_a_blank_pair_means_the_chain(self) -> None:
        assert parse(accesskey="", secretkey="").credentials == "chain"

    def test_a_pair_is_static(self) -> None:
        assert parse(accesskey="a", secretkey="b").credentials == "static"

    @pytest.mark.parametrize("given", ["accesskey", "secretkey"])
    def test_half_a_pair_is_refused(self, given: str) -> None:
        assert set(refuse(**{given: "x"})) == {"accesskey", "secretkey"} - {given}

    def test_static_never_falls_back_to_the_chain(self) -> None:
        assert set(refuse(credentials="static", accesskey="", secretkey="")) == {"accesskey", "secretkey"}

    def test_chain_with_keys_is_refused(self) -> None:
        assert set(refuse(credentials="chain", accesskey="a", secretkey="b")) == {"credentials"}

    def test_another_source_is_refused(self) -> None:
        assert set(refuse(credentials="magic")) == {"credentials"}

    def test_a_number_is_text(self) -> None:
        assert parse(accesskey=12345, secretkey="b").accesskey == "12345"


class TestRootDirectory:
    @pytest.mark.parametrize("root", ["", "/", "registry", "/registry/", "a//b"])
    def test_it_works(self, root: str) -> None:
        assert parse(rootdirectory=root).rootdirectory == root

    @pytest.mark.parametrize("root", ["../other", "a/./b", "a\x00b", "x" * 600])
    def test_it_refuses(self, root: str) -> None:
        assert "rootdirectory" in refuse(rootdirectory=root)


class TestWarnings:
    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("keyid", {"keyid": "alias/x"}),
            ("secure", {"secure": False}),
            ("secure", {"secure": True, "regionendpoint": "http://minio", "forcepathstyle": True}),
            ("skipverify", {"skipverify": True}),
            ("forcepathstyle", {"regionendpoint": "http://minio"}),
            ("sessiontoken", {"sessiontoken": "t", "accesskey": "a", "secretkey": "b"}),
            ("objectacl", {"objectacl": "none"}),
            ("objectacl", {"objectacl": "public-read"}),
            ("storageclass", {"storageclass": "REDUCED_REDUNDANCY"}),
            ("storageclass", {"storageclass": "STANDARD_IA"}),
            ("loglevel", {"loglevel": "debug"}),
            ("maxretries", {"maxretries": 3}),
        ],
    )
    def test_ignored_deprecated_and_harmful(self, name: str, values: dict[str, object]) -> None:
        assert warned(parse("3", **values)) == {name}

    def test_a_plain_configuration_has_none(self) -> None:
        assert parse("3").warnings == ()

    def test_an_unknown_name_is_ignored_with_a_suggestion(self) -> None:
        (warning,) = parse("3", regionEndpont="http://x").warnings
        assert warning == ("regionEndpont", "Unknown parameter; ignored. Did you mean regionendpoint?")

    def test_a_name_of_a_later_version(self) -> None:
        assert "objectacl" in warned(parse(objectacl="private"))

    def test_an_invalid_acl_is_refused(self) -> None:
        assert refuse("3", objectacl="Private")["objectacl"][0].startswith(
            "invalid value for objectacl parameter: Private"
        )


class TestSecret:
    secret = Secret("canary")

    @pytest.mark.parametrize("show", [repr, str, format, "{!r:>30}".format, "%s".__mod__, ascii])
    def test_it_never_prints(self, show: object) -> None:
        assert "canary" not in show(self.secret)  # type: ignore[operator]

    def test_it_reveals_on_request(self) -> None:
        assert self.secret.reveal() == "canary"

    def test_it_is_not_pickled(self) -> None:
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(self.secret)

    def test_parameters_with_one_are_not_pickled(self) -> None:
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(parse(accesskey="a", secretkey="canary"))

    def test_parameters_print_none(self) -> None:
        parameters = parse(accesskey="a", secretkey="canary", sessiontoken="canary")
        assert "canary" not in f"{parameters} {parameters!r} {dataclasses.asdict(parameters)}"

    def test_it_compares_by_value(self) -> None:
        assert (self.secret == Secret("canary"), self.secret == Secret("other"), self.secret == "canary") == (
            True,
            False,
            False,
        )

    def test_it_is_copied_as_itself(self) -> None:
        assert copy.deepcopy([self.secret]) == [self.secret]

    def test_errors_do_not_name_it(self) -> None:
        assert "canary" not in str(refuse(secretkey="canary\x00", accesskey="a"))


ROLE = "arn:aws:iam::123456789012:role/registry"
KEYS = {"accesskey": "AKIDEXAMPLE", "secretkey": "secret"}


class TestSources:
    @pytest.mark.parametrize(
        ("values", "source"),
        [
            ({}, "chain"),
            (KEYS, "static"),
            ({"profile": "registry"}, "profile"),
            ({"rolearn": ROLE}, "role"),
            ({"rolearn": ROLE, "profile": "registry"}, "role"),
            ({"rolearn": ROLE} | KEYS, "role"),
        ],
    )
    def test_they_follow_from_what_is_given(self, values: dict[str, str], source: str) -> None:
        assert parse(**values).credentials == source

    @pytest.mark.parametrize(
        ("values", "fields"),
        [
            ({"credentials": "static"}, {"accesskey", "secretkey"}),
            ({"credentials": "static", "accesskey": "AKIDEXAMPLE"}, {"secretkey"}),
            ({"rolearn": ROLE, "accesskey": "AKIDEXAMPLE"}, {"secretkey"}),
            ({"credentials": "chain"} | KEYS, {"credentials"}),
            ({"credentials": "profile"}, {"profile"}),
            ({"credentials": "profile", "profile": "registry"} | KEYS, {"credentials"}),
            ({"credentials": "role"}, {"rolearn"}),
            ({"rolearn": "registry"}, {"rolearn"}),
            ({"rolearn": ROLE, "externalid": "a b"}, {"externalid"}),
            ({"rolearn": ROLE, "profile": "registry"} | KEYS, {"profile"}),
            ({"externalid": "tenant-7"} | KEYS, {"externalid"}),
            ({"credentials": "static", "rolearn": ROLE} | KEYS, {"rolearn"}),
            ({"stsendpoint": "https://sts.example.com"} | KEYS, {"stsendpoint"}),
            ({"rolearn": ROLE, "stsendpoint": "https://sts.example.com/path"}, {"stsendpoint"}),
            ({"credentials": "magic"}, {"credentials"}),
        ],
    )
    def test_what_does_not_fit_is_refused(self, values: dict[str, str], fields: set[str]) -> None:
        assert set(refuse(**values)) == fields

    def test_a_role_by_this_servers_identity_should_demand_an_external_id(self) -> None:
        assert "externalid" in warned(parse(rolearn=ROLE))

    @pytest.mark.parametrize("values", [{"externalid": "tenant-7"}, KEYS, {"profile": "registry"}])
    def test_a_role_of_anybody_else_need_not(self, values: dict[str, str]) -> None:
        assert "externalid" not in warned(parse(rolearn=ROLE, **values))


class TestOurOwn:
    @pytest.mark.parametrize("value", [0, 65, "many", True])
    def test_concurrency_has_limits(self, value: object) -> None:
        assert set(refuse(concurrency=value)) == {"concurrency"}

    def test_four_parts_at_once_are_the_default(self) -> None:
        assert parse().concurrency == 4

    @pytest.mark.parametrize(("blobs_only", "expected"), [(True, set()), (False, {"storageclass"})])
    def test_classes_for_rare_access_suit_blobs(self, blobs_only: bool, expected: set[str]) -> None:
        values = {"v4auth": True, "storageclass": "STANDARD_IA", "storageclassblobsonly": blobs_only}
        assert warned(parse("3", **values)) == expected

    def test_a_class_for_blobs_only_needs_a_class(self) -> None:
        assert "storageclassblobsonly" in warned(parse(storageclassblobsonly=True))


class TestAmazonsOtherEndpoints:
    @pytest.mark.parametrize(
        "values", [{"bucket": "images.example"}, {"forcepathstyle": True}, {"usefipsendpoint": True}]
    )
    def test_acceleration_does_not_go_with(self, values: dict[str, object]) -> None:
        assert set(refuse("3", accelerate=True, **values)) == {"accelerate"}

    @pytest.mark.parametrize("name", ["accelerate", "usedualstack", "usefipsendpoint"])
    def test_they_do_nothing_beside_an_endpoint(self, name: str) -> None:
        assert name in warned(parse("3", MINIO, **{name: True}))

    def test_acceleration_is_virtual_hosted(self) -> None:
        assert parse("3", accelerate=True).addressing_style == "virtual"


@pytest.mark.parametrize(
    ("value", "level"),
    [
        *((value, "off") for value in (None, False, True, 42, 42.0, ["off"], {"level": "off"}, "", "invalid", "OFF")),
        *((name.upper(), name) for name in ("debug", "debugwithsigning", "debugwithhttpbody")),
    ],
)
def test_the_log_level_is_never_an_error(value: object, level: str) -> None:
    assert parse("3", loglevel=value).loglevel == level


class TestBucketProblems:
    @pytest.mark.parametrize("name", ["abc", "my-bucket.example.com", "1bucket2", "a" * 63])
    def test_good_names(self, name: str) -> None:
        assert bucket_problems(name) == []

    @pytest.mark.parametrize(
        "name",
        [
            *("", "ab", "a" * 64, "Bucket", "my_bucket", "-abc", "abc-", ".abc", "abc.", "a..b", "192.168.5.4"),
            *("xn--abc", "sthree-abc", "amzn-s3-demo-x", "abc-s3alias", "abc--ol-s3", "abc.mrap", "abc--x-s3"),
            *("abc--table-s3", "a/b", "bücket", "buc ket", "abc\n", "٣٤٥"),
        ],
    )
    def test_bad_names(self, name: str) -> None:
        assert bucket_problems(name)

    @given(st.text(max_size=70))
    def test_a_good_name_is_a_host_name(self, name: str) -> None:
        if not bucket_problems(name):
            assert name.isascii()
            assert all(character.isalnum() or character in ".-" for character in name)


value = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.text(), max_size=2)


@given(st.dictionaries(st.sampled_from(sorted(PARAMETERS)) | st.text(max_size=8), value), st.sampled_from(VERSIONS))
def test_parse_gives_parameters_or_parameter_errors(values: dict[str, object], version: str) -> None:
    try:
        parameters = DriverParameters.parse(values, version=version)
    except ParameterErrors:
        return
    assert bucket_problems(parameters.bucket) == []
