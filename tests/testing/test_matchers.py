"""The matches of test files in Python, and what they say of a difference."""

from __future__ import annotations

import pytest

from pfiflow.errors import ConfigError
from pfiflow.testing import absent, assert_matches, contains, count, each, lacks, match_of, matches, some
from pfiflow.testing.matchers import Expected

MESSAGE = b"MSH|^~\\&|A|B|||||ORU^R01|1|P|2.5\rOBX|1|ST|A^a||x\rOBX|2|ST|B^b||y\r"


@pytest.mark.parametrize(
    "expected",
    [
        {"hl7": {"MSH-10": "1", "OBX[*]-5": ["x", "y"]}},
        {"hl7": {"OBX[*]-5": each(matches("[xy]"))}},
        {"hl7": {"OBX[*]-5": some("y")}},
        {"hl7": {"OBX": count(2), "PID": absent()}},
        contains("ORU"),
        lacks("MDM"),
    ],
)
def test_what_holds(expected: Expected) -> None:
    assert_matches(MESSAGE, expected)


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ({"hl7": {"MSH-10": "2"}}, "hl7 › MSH-10: expected '2', found '1'"),
        ({"hl7": {"OBX[*]-5": "x"}}, "hl7 › OBX[*]-5: expected 'x', found ['x', 'y']"),
        ({"hl7": {"OBX[*]-5": each("x")}}, "hl7 › OBX[*]-5 › [2]: expected 'x', found 'y'"),
        ({"hl7": {"PID-3": contains("1")}}, "hl7 › PID-3: expected something that contains '1', found nothing"),
        ({"hl7": {"MSH-10": absent()}}, "hl7 › MSH-10: expected nothing, found '1'"),
        ({"hl7": {"OBX": count(3)}}, "hl7 › OBX: expected 3 values, found 2: "),
        ({"hl7": {"PID[*]-3": each("x")}}, "hl7 › PID[*]-3: expected one value at least, found nothing"),
        ({"json": {"/a": "x"}}, "json › /a: expected this is no JSON"),
        (matches("x"), "expected something that matches 'x', found "),
        (lacks("ORU"), "expected nothing that contains 'ORU', found "),
    ],
)
def test_what_does_not_hold_is_told(expected: Expected, told: str) -> None:
    with pytest.raises(AssertionError) as failure:
        assert_matches(MESSAGE, expected)
    assert told in str(failure.value)


def test_formats_can_be_named_as_arguments() -> None:
    assert_matches(MESSAGE, hl7={"MSH-10": "1"})
    with pytest.raises(AssertionError):
        assert_matches(MESSAGE, hl7={"MSH-10": "2"})


def test_an_unknown_format_is_told() -> None:
    with pytest.raises(ConfigError, match="known: archive, base64"):
        match_of({"hl8": {}})
