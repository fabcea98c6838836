from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfiflow.errors import ConfigError
from pfiflow.xds.times import dtm, utc


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("20210401134745+0100", "20210401124745"),
        ("20210401134745-0330", "20210401171745"),
        ("20210401134745+01:00", "20210401124745"),
        ("20210401134745Z", "20210401134745"),
        ("20210104134745", "20210104124745"),  # winter in Paris
        ("20210704134745", "20210704114745"),  # summer
        ("20210704000000", "20210703220000"),
        ("20211031023000", "20211031003000"),  # the repeated hour: its first pass
        ("20210704134745.123+0200", "20210704114745"),
        ("202107041347", "202107041147"),
        ("2021070413", "2021070411"),
        ("2021070413+0530", "202107040730"),
        ("20210704", "20210704"),
        ("202107", "202107"),
        ("2021", "2021"),
        (" 20210704 ", "20210704"),
        ("", ""),
        ("2021-07-04", ""),
        ("20211301", ""),
        ("20210230", ""),
        ("20210704134", ""),
        ("2021070425", ""),
        ("00010101000000+0100", ""),
        ("99991231235959-0100", ""),
        ("20210704134745+9900", ""),
        ("202107041347450100", ""),
        ("٢٠٢١", ""),
    ],
)
def test_utc_digits_at_the_precision_written(written: str, expected: str) -> None:
    assert dtm(written) == expected


def test_the_digits_as_written_when_asked() -> None:
    assert dtm("20210401134745+0100", time_zone="") == "20210401134745"
    assert dtm("20210401134745", time_zone="") == "20210401134745"
    assert dtm("20211399", time_zone="") == ""


def test_another_zone() -> None:
    assert dtm("20210401134745", time_zone="Indian/Reunion") == "20210401094745"


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd"])
def test_an_unknown_zone_is_a_setting_to_correct(name: str) -> None:
    with pytest.raises(ConfigError, match="time zone"):
        dtm("20210401134745", time_zone=name)


@given(
    st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)),  # noqa: DTZ001
    st.integers(-14 * 60, 14 * 60),
)
def test_the_offset_is_honoured(moment: datetime, minutes: int) -> None:
    moment = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
    sign = "-" if minutes < 0 else "+"
    written = f"{moment:%Y%m%d%H%M%S}{sign}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"
    assert dtm(written) == f"{moment.astimezone(UTC):%Y%m%d%H%M%S}" == utc(moment)


@given(st.text(alphabet="0123456789+-.:Z ", max_size=24))
def test_anything_else_is_nothing(text: str) -> None:
    result = dtm(text)
    assert result == "" or (result.isdigit() and len(result) in {4, 6, 8, 10, 12, 14})


def test_a_naive_submission_time_is_a_defect() -> None:
    with pytest.raises(ValueError, match="time zone"):
        utc(datetime(2026, 1, 1))  # noqa: DTZ001
