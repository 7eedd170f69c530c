"""Hours by the clock on the wall, and a policy that holds them."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import ConfigError
from federation.opening_hours import DAYS, OpeningHours
from federation.site_policy import SitePolicy

KEYS = {
    "site": "a",
    "dataset": "d",
    "public_rows": 100,
    "tasks": ("heart",),
    "split_seed": 7,
    "epsilon_budget": 1.0,
    "delta": 1e-2,
}
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment", "inside"),
    [
        ("mon-fri 08:00-17:00", "2026-03-02T08:00", True),
        ("mon-fri 08:00-17:00", "2026-03-02T07:59", False),
        ("mon-fri 08:00-17:00", "2026-03-02T16:59", True),
        ("mon-fri 08:00-17:00", "2026-03-02T17:00", False),
        ("mon-fri 08:00-17:00", "2026-03-07T12:00", False),
        # The night that begins on Friday ends on Saturday, and none begins then.
        ("mon-fri 20:00-06:00", "2026-03-07T05:59", True),
        ("mon-fri 20:00-06:00", "2026-03-07T06:00", False),
        ("mon-fri 20:00-06:00", "2026-03-07T20:00", False),
        ("mon-fri 20:00-06:00", "2026-03-02T05:00", False),
        ("fri-mon 10:00-11:00", "2026-03-08T10:30", True),
        ("fri-mon 10:00-11:00", "2026-03-04T10:30", False),
        ("sat 00:00-24:00", "2026-03-07T23:59", True),
        ("sat 00:00-24:00", "2026-03-08T00:00", False),
    ],
)
def test_a_span_holds_its_first_minute_and_not_its_end(text, moment, inside):
    assert OpeningHours.parse(text).holds(datetime.fromisoformat(moment)) is inside


@given(st.sampled_from(DAYS), st.integers(0, 1439), st.integers(0, 1439))
def test_a_span_and_the_rest_of_the_day_share_the_day(day, begin, end):
    if begin == end:
        return
    clock = [f"{minute // 60:02}:{minute % 60:02}" for minute in (begin, end)]
    span = OpeningHours.parse(f"mon-sun {clock[0]}-{clock[1]}")
    rest = OpeningHours.parse(f"mon-sun {clock[1]}-{clock[0]}")
    moment = MONDAY.replace(day=2 + DAYS.index(day))
    for minute in {begin, end, (begin + 1) % 1440, (end + 719) % 1440}:
        there = moment.replace(hour=minute // 60, minute=minute % 60)
        assert span.holds(there) is not rest.holds(there)


@pytest.mark.parametrize(
    "text",
    ["", "mon", "mon 8:00-9:00", "mon 08:00-08:00", "mon 24:00-06:00", "mon 08:60-09:00",
     "mon 08:00-24:01", "mon-xyz 08:00-09:00", "mon 08:00-09:00 ", "Mon 08:00-09:00",
     "mon 0٨:00-09:00"],
)  # fmt: skip
def test_what_is_no_span_is_refused_by_the_policy_with_the_key(text):
    with pytest.raises(ConfigError, match="hours = "):
        SitePolicy(**KEYS, hours=(text,))


@pytest.mark.parametrize("name", ["", "Europe/Nowhere", "../../etc/passwd", "/etc/localtime"])
def test_an_unknown_time_zone_is_refused(name):
    with pytest.raises(ConfigError, match="timezone = "):
        SitePolicy(**KEYS, timezone=name)


def test_hours_are_of_the_wall_on_both_sides_of_a_change_to_summer_time():
    policy = SitePolicy(**KEYS, hours=("mon-sun 08:00-09:00",), timezone="Europe/Berlin")
    winter = datetime(2026, 3, 28, 8, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    summer = datetime(2026, 3, 30, 8, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert (winter.astimezone(UTC).hour, summer.astimezone(UTC).hour) == (7, 6)
    assert policy.is_open(winter.timestamp())
    assert policy.is_open(summer.timestamp())
    assert not policy.is_open(winter.replace(hour=9).timestamp())


def test_a_policy_without_hours_is_always_open():
    assert SitePolicy(**KEYS).is_open(0.0)


def test_more_noise_goes_with_no_shared_noise():
    assert SitePolicy(**KEYS, noise_factor=1.5).noise_factor == 1.5
    with pytest.raises(ConfigError, match=r"noise_factor = 1.5: expected 1 where allow_shared"):
        SitePolicy(**KEYS, noise_factor=1.5, allow_shared_noise=True)


def test_a_field_that_no_log_has_cannot_be_left_out():
    with pytest.raises(ConfigError, match=r"log.leave_out = 'epsilon'"):
        SitePolicy(**KEYS, log={"leave_out": ("epsilon",)})


def test_a_policy_is_read_as_it_was_written(tmp_path):
    policy = SitePolicy(
        **KEYS,
        hours=("mon-fri 20:00-06:00",),
        timezone="Europe/Berlin",
        limits={"threads": 2, "memory_mb": 4096, "seconds_per_answer": 600.0},
        log={"level": "warning", "leave_out": ("epsilon_spent",)},
    )
    policy.write(tmp_path / "site.toml")
    assert SitePolicy.read(tmp_path / "site.toml") == policy
    assert "epsilon_spent" not in policy.log.fields


def test_a_misspelt_limit_is_named(tmp_path):
    SitePolicy(**KEYS).write(tmp_path / "site.toml")
    with (tmp_path / "site.toml").open("a", encoding="utf-8") as file:
        file.write("[limits]\nthreds = 2\n")
    with pytest.raises(ConfigError, match=r"limits.threds.*threads"):
        SitePolicy.read(tmp_path / "site.toml")
