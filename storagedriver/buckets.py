"""How buckets may be named."""

from __future__ import annotations

import re
from typing import NamedTuple


class Rule(NamedTuple):
    """A rule for a text: it keeps the rule if it matches `pattern` from end to end, in Python as in JavaScript."""

    message: str
    pattern: str


# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
BUCKET_RULES = (
    Rule("A bucket name has 3 to 63 characters.", r".{3,63}"),
    Rule("Use only lower-case letters, digits, dots and hyphens.", r"[a-z0-9.-]*"),
    Rule("Begin and end with a letter or a digit.", r"(?![.-]).*(?<![.-])"),
    Rule("Two dots must not stand side by side.", r"(?!.*\.\.).*"),
    Rule("A bucket name must not look like an IP address.", r"(?![0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$).*"),
    Rule(
        "The beginnings xn--, sthree- and amzn-s3-demo- are reserved by Amazon.",
        r"(?!xn--|sthree-|amzn-s3-demo-).*",
    ),
    Rule(
        "The endings -s3alias, --ol-s3, .mrap, --x-s3 and --table-s3 are reserved by Amazon.",
        r".*(?<!-s3alias)(?<!--ol-s3)(?<!\.mrap)(?<!--x-s3)(?<!--table-s3)",
    ),
)


def bucket_problems(name: str) -> list[str]:
    """Return the naming rules for general purpose buckets that `name` breaks, one sentence each; [] for a good name."""
    return [rule.message for rule in BUCKET_RULES if not re.fullmatch(rule.pattern, name)]
