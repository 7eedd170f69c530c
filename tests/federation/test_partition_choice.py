"""How many sites, and how rows are shared out: what may be written, and what is refused."""

import tomllib

import pytest

from federation import config_file
from federation.config import FederationConfig
from federation.errors import ConfigError
from federation.partition_choice import MOST_SITES, numbered_sites

TWELVE = tuple(f"site-{number:02d}" for number in range(1, 13))


def parse(*overrides: str, **tables: object) -> FederationConfig:
    return config_file.parse(tables, overrides)


def test_without_a_partition_sites_are_the_tasks_own() -> None:
    config = parse()
    assert config == FederationConfig()
    assert config.simulation.partition.kind == "natural"
    assert config.federation.sites == ()


def test_a_number_of_sites_names_those_of_a_partition() -> None:
    config = parse("federation.sites=12", simulation={"partition": {"kind": "iid"}})
    assert config.federation.sites == TWELVE
    assert config.simulation.partition.sites == 12
    assert (config.federation.quorum, config.federation.threshold) == (8, 7)


def test_a_number_of_natural_sites_waits_for_the_task() -> None:
    config = parse(federation={"sites": 12})
    assert config.federation.sites == ()
    assert config.simulation.partition.sites == 12


@pytest.mark.parametrize(
    "overrides",
    [
        ("federation.sites=12",),
        ("simulation.partition.sites=12",),
        ("federation.sites=5", "federation.sites=12"),
    ],
)
def test_what_is_said_last_holds(overrides: tuple[str, ...]) -> None:
    config = parse(*overrides, simulation={"partition": {"kind": "iid", "sites": 8}})
    assert config.federation.sites == TWELVE


def test_a_number_replaces_names_of_the_file() -> None:
    config = parse(
        "federation.sites=12",
        federation={"sites": ["a", "b", "c"]},
        simulation={"partition": {"kind": "iid"}},
    )
    assert config.federation.sites == TWELVE


def test_sites_of_a_partition_may_have_names() -> None:
    config = parse(
        federation={"sites": ["a", "b", "c"]}, simulation={"partition": {"kind": "time"}}
    )
    assert config.federation.sites == ("a", "b", "c")


@pytest.mark.parametrize(
    "partition",
    [
        {"kind": "natural", "sites": 3},
        {"kind": "iid", "sites": 3, "rows_per_site": 9, "resample": True},
        {"kind": "dirichlet", "sites": 3, "alpha": 0.1},
        {"kind": "quantity", "sites": 3, "law": "dirichlet", "beta": 2.0},
        {"kind": "feature", "sites": 3, "feature": "age", "mixing": 0.5},
        {"kind": "time", "sites": 3},
    ],
)
def test_what_is_written_reads_back_the_same(partition: dict[str, object]) -> None:
    config = parse(simulation={"partition": partition}, federation={"sites": ["a", "b", "c"]})
    again = config_file.parse(tomllib.loads(config_file.write_text(config)))
    assert again == config
    assert again.simulation.partition == config.simulation.partition


def test_names_are_as_wide_as_the_largest_number() -> None:
    assert numbered_sites(3) == ("site-01", "site-02", "site-03")
    names = numbered_sites(10_000)
    assert (names[0], names[-1]) == ("site-00001", "site-10000")
    assert list(names) == sorted(names)


def with_partition(**partition: object) -> dict[str, object]:
    return {"simulation": {"partition": partition}}


@pytest.mark.parametrize(
    ("table", "key", "text"),
    [
        ({"federation": {"sites": 2}}, "federation.sites", "at least 3 sites"),
        ({"federation": {"sites": True}}, "federation.sites", "a list"),
        (
            {"federation": {"sites": 12}} | with_partition(kind="iid", sites=8),
            "federation.sites",
            "simulation.partition.sites = 8",
        ),
        (
            {"federation": {"sites": ["a", "b", "c"]}} | with_partition(kind="iid", sites=8),
            "simulation.partition.sites",
            "which names 3",
        ),
        (with_partition(kind="dirichet"), "simulation.partition.kind", "did you mean dirichlet?"),
        (with_partition(alpha=0.5), "simulation.partition.kind", "one of natural, iid"),
        (with_partition(kind="iid", alpha=1.0), "simulation.partition.alpha", "no such key"),
        (
            with_partition(kind="dirichlet", alpa=1.0),
            "simulation.partition.alpa",
            "did you mean simulation.partition.alpha?",
        ),
        (with_partition(kind="dirichlet", alpha=0.0), "simulation.partition.alpha", ">= 0.000001"),
        (with_partition(kind="iid", sites=2), "simulation.partition.sites", ">= 3"),
        (
            with_partition(kind="iid", sites=MOST_SITES + 1),
            "simulation.partition.sites",
            f"<= {MOST_SITES}",
        ),
        (with_partition(kind="iid", minimum_rows=2), "simulation.partition.minimum_rows", ">= 3"),
        (
            with_partition(kind="iid", resample=True),
            "simulation.partition.rows_per_site",
            "with resample = true",
        ),
        (
            with_partition(kind="iid", rows_per_site=20),
            "simulation.partition.rows_per_site",
            "none without resample = true",
        ),
        (
            with_partition(kind="iid", rows_per_site=3, resample=True),
            "simulation.partition.rows_per_site",
            "minimum_rows = 4",
        ),
        (with_partition(kind="time", resample=True), "simulation.partition.resample", "no such"),
        (with_partition(kind="feature"), "simulation.partition.feature", "or input_noise > 0"),
        ({"simulation": {"partition": "iid"}}, "simulation.partition", "a table"),
    ],
)
def test_each_mistake_is_one_clear_error(table: dict[str, object], key: str, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_file.parse(table)
    assert refused.value.key == key
    assert text in str(refused.value)


def test_an_error_lists_a_few_of_thousands_of_sites() -> None:
    with pytest.raises(ConfigError) as refused:
        parse(
            federation={"sites": 5000},
            simulation={"partition": {"kind": "iid"}, "dropouts": [{"site": "x", "round": 1}]},
        )
    assert "and 4980 more" in str(refused.value)
