"""federation.toml: what is right is read, and each thing that is wrong is one clear error."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import config_file
from federation.config import FederationConfig
from federation.errors import ConfigError, UsageError

FIVE = {"federation": {"sites": ["a", "b", "c", "d", "e"], "quorum": 4}}


def test_an_empty_file_is_the_default_federation() -> None:
    assert config_file.parse({}) == FederationConfig()


def test_what_is_written_reads_back_the_same() -> None:
    config = config_file.parse(
        FIVE | {"cohorts": {"x": ["a", "b", "c", "d", "e"]}, "privacy": {"noise_multiplier": 1.1}}
    )
    assert config_file.parse(tomllib.loads(config_file.write_text(config))) == config


@pytest.mark.parametrize(
    ("table", "key", "text"),
    [
        ({"trainning": {}}, "trainning", "did you mean training?"),
        ({"rounds": 1}, "rounds", "did you mean run.rounds?"),
        (
            {"privacy": {"noise": 1}},
            "privacy.noise",
            "did you mean privacy.noise_multiplier or privacy.shared_noise or simulation.noise?",
        ),
        ({"federation": {"sites": 3.5}}, "federation.sites", "a whole number, how many"),
        ({"federation": {"sites": "heart"}}, "federation.sites", "or a list of names"),
        ({"name": "x"}, "name", "did you mean run.name or task.name?"),
        ({"run": {"epsilon": 1}}, "run.epsilon", "or privacy.epsilon?)"),
        (
            {"simulation": {"dropouts": [{"site": "a", "rounds": 1}]}},
            "simulation.dropouts.0.rounds",
            "did you mean simulation.dropouts.0.round?",
        ),
        ({"federation": {"task": "heart"}}, "federation.task", "[task] is a section of its own"),
        ({"training": {"learningrate": 1.0}}, "training.learningrate", "training.learning_rate?"),
        ({"privacy": {"mode": "of"}}, "privacy.mode", "did you mean 'off'?"),
        ({"privacy": {"epsilon": -1.0}}, "privacy.epsilon", "a number > 0"),
        ({"privacy": {"epsilon": float("nan")}}, "privacy.epsilon", "finite"),
        ({"privacy": {"epsilon": float("inf")}}, "privacy.epsilon", "finite"),
        ({"privacy": {"delta": 1}}, "privacy.delta", "< 1"),
        ({"run": {"rounds": "3"}}, "run.rounds", "a whole number"),
        ({"run": {"rounds": True}}, "run.rounds", "a whole number"),
        ({"cohorts": {"A": ["a"]}}, "a name in cohorts", "a name of lower-case letters"),
        ({"run": {"rounds": 0}}, "run.rounds", "a number >= 1"),
        ({"run": 3}, "run", "a table"),
        ({"task": {"name": ""}}, "task.name", "a text that is not empty"),
        ({"federation": {"sites": "a"}}, "federation.sites", "a list"),
        ({"training": {"learning_rate": 1e300}}, "training.learning_rate", "<= 1000000"),
        ({"training": {"local_steps": 10**12}}, "training.local_steps", "<= 100000"),
        (
            FIVE | {"evaluation": {"minimum_contributors": 6}},
            "evaluation.minimum_contributors",
            "at most the number of sites, 5",
        ),
        (
            FIVE | {"simulation": {"dropouts": [{"site": "a", "round": 99}]}},
            "simulation.dropouts.round",
            "at most 21, the evaluation round",
        ),
        ({"task": {"options": {"hidden": [8, "x"]}}}, "task.options.hidden", "or of texts"),
        ({"task": {"options": {"hidden": {"a": 1}}}}, "task.options.hidden", "a list of"),
        ({"run": {"name": "Ä b"}}, "run.name", "a name of lower-case letters"),
        ({"version": 2}, "version", "1"),
        ({"training": {"sampling_rate": 1.5}}, "training.sampling_rate", "<= 1"),
        ({"federation": {"quorum": 2}}, "federation.quorum", ">= 3"),
        (
            {"federation": {"sites": ["a", "b", "c"], "threshold": 4}},
            "federation.threshold",
            "federation.quorum = 3",
        ),
        ({"federation": {"sites": ["a", "b"]}}, "federation.sites", "at least 3 sites"),
        ({"federation": {"sites": ["a", "b", "b"]}}, "federation.sites", "distinct"),
        (
            {"federation": {"sites": ["a", "b", "c"], "quorum": 4, "threshold": 3}},
            "federation.quorum",
            "at most the number of sites, 3",
        ),
        (
            {"federation": {"sites": ["a", "b", "c", "d", "e", "f"], "quorum": 3}},
            "federation.quorum",
            "at least 4 for 6 sites",
        ),
        (
            {"simulation": {"dropouts": [{"sit": "x"}]}},
            "simulation.dropouts.0.sit",
            "dropouts.0.site?",
        ),
        (
            FIVE | {"simulation": {"dropouts": [{"site": "x", "round": 1}]}},
            "simulation.dropouts.site",
            "one of a, b, c, d, e",
        ),
        ({"cohorts": {"x": ["a", "b"]}}, "cohorts.x", "at least evaluation.minimum_contributors"),
        ({"cohorts": {"x": ["a", "b", "b"]}}, "cohorts.x", "distinct sites"),
        (
            {"cohorts": {"x": ["a", "b", "c"], "y": ["c", "d", "e"]}},
            "cohorts",
            "one cohort at most",
        ),
        (FIVE | {"cohorts": {"x": ["a", "b", "z"]}}, "cohorts", "sites out of a, b, c, d, e"),
        (FIVE | {"cohorts": {"x": ["a", "b", "c"]}}, "cohorts", "no site, or at least 3, outside"),
        ({"privacy": {"epsilon": 1.0, "noise_multiplier": 1.0}}, "privacy.epsilon", "exactly one"),
        ({"privacy": {}}, "privacy.epsilon", "exactly one"),
        ({"privacy": {"mode": "off", "epsilon": 1.0}}, "privacy.epsilon", "remove one of the two"),
        (
            {"privacy": {"mode": "off", "noise_multiplier": 1.0}},
            "privacy.noise_multiplier",
            "remove one of the two",
        ),
        (FIVE | {"site_policy": {"minimum_quorum": 5}}, "federation.quorum", "refuse every round"),
        (
            FIVE | {"site_policy": {"minimum_threshold": 4}},
            "federation.threshold",
            "refuse every round",
        ),
        ({"evaluation": {"minimum_contributors": 2}}, "evaluation.minimum_contributors", ">= 3"),
    ],
)
def test_one_wrong_thing_is_one_error_that_names_it(table: dict, key: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_file.parse(table)
    assert str(caught.value).startswith(key)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_unknown_key_is_named_before_what_it_may_have_caused() -> None:
    with pytest.raises(ConfigError, match=r"^run\.round ="):
        config_file.parse({"run": {"round": 3, "seed": "x"}})


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("run.rounds=7", lambda c: c.run.rounds == 7),
        ("run.name=night", lambda c: c.run.name == "night"),
        (" training.learning_rate = 0.5", lambda c: c.training.learning_rate == 0.5),
        ('federation.sites=["a","b","c"]', lambda c: c.federation.sites == ("a", "b", "c")),
        ("task.options.sites_by=year", lambda c: c.task.options == {"sites_by": "year"}),
    ],
)
def test_overrides_are_typed_as_toml(override: str, value) -> None:
    assert value(config_file.parse({}, [override]))


@pytest.mark.parametrize("override", ["run.rounds", "=3", "run..rounds=3", "version.x=3"])
def test_a_malformed_override_says_what_is_expected(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        config_file.parse({"version": 1}, [override])


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    path.write_bytes(b"\xef\xbb\xbf[run]\nrounds = 3\n")
    assert config_file.read(path).run.rounds == 3


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"run = [", "not valid TOML"), (b"\xff\xfe", "not UTF-8"), (None, "cannot read")],
)
def test_an_unreadable_file_is_a_usage_error(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "federation.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=text):
        config_file.read(path)


@given(st.integers(3, 300))
def test_what_is_left_out_suits_any_number_of_sites(count: int) -> None:
    sites = [f"s{i}" for i in range(count)]
    rules = config_file.parse({"federation": {"sites": sites}}).federation
    # A third of the sites may be lost, a third may collude with a coordinator that lies.
    assert rules.quorum <= max(3, count - count // 3)
    assert min(rules.threshold - 1, 2 * rules.quorum - count - 1) >= (count - 3) // 3
    given_quorum = config_file.parse({"federation": {"sites": sites, "quorum": count}}).federation
    assert given_quorum.quorum == count


@given(st.integers(3, 40), st.data())
def test_an_accepted_quorum_never_permits_two_survivor_sets(
    sites: int, data: st.DataObject
) -> None:
    quorum = data.draw(st.integers(3, sites))
    threshold = data.draw(st.integers(2, quorum))
    table = {
        "federation": {
            "sites": [f"s{i}" for i in range(sites)],
            "quorum": quorum,
            "threshold": threshold,
        },
    }
    # Two sets of `quorum` signatures: each honest site signs one, one colluding site signs both.
    if 2 * quorum <= (sites - 1) + 2:
        with pytest.raises(ConfigError, match=r"federation\.quorum"):
            config_file.parse(table)
    else:
        config_file.parse(table)
