"""Samples of sites: their law, their quorum, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare

from federation import config_file
from federation.agreement import Agreement
from federation.client_sampling import ClientSampling, sample_quorum
from federation.errors import ConfigError, ProtocolViolation
from federation.sum_groups import smallest_sum_group, sum_group_of, sum_groups
from server.proposal import propose

SITES = tuple(f"site-{number:04d}" for number in range(1000))


def seeds(count: int) -> list[bytes]:
    return [number.to_bytes(4, "big") for number in range(count)]


@given(seed=st.binary(min_size=1, max_size=32), size=st.integers(3, 1000))
def test_so_many_are_drawn_and_each_once(seed: bytes, size: int) -> None:
    drawn = ClientSampling(kind="fixed", sites=size).drawn(SITES, seed)
    assert len(drawn) == size
    assert list(drawn) == sorted(set(drawn))
    assert set(drawn) <= set(SITES)


@given(seed=st.binary(min_size=1, max_size=32), few=st.integers(3, 999))
def test_a_larger_sample_of_the_same_draw_has_the_smaller_one_in_it(seed, few) -> None:
    small = ClientSampling(kind="fixed", sites=few).drawn(SITES, seed)
    large = ClientSampling(kind="fixed", sites=few + 1).drawn(SITES, seed)
    assert set(small) < set(large)


def test_every_site_is_as_likely_as_any_other_in_a_sample_of_a_fixed_size() -> None:
    sampling = ClientSampling(kind="fixed", sites=5)
    taken = [site for seed in seeds(4000) for site in sampling.drawn(SITES[:20], seed)]
    counts = [taken.count(site) for site in SITES[:20]]
    assert chisquare(counts).pvalue > 1e-4


def test_each_site_throws_a_coin_of_its_own() -> None:
    sampling = ClientSampling(kind="poisson", rate=0.03)
    drawn = [sampling.drawn(SITES, seed) for seed in seeds(200)]
    assert binomtest(sum(map(len, drawn)), 200 * 1000, 0.03).pvalue > 1e-4
    both = sum({SITES[3], SITES[4]} <= set(one) for one in drawn)
    assert both <= 5  # 0.18 are expected


def test_a_rate_of_one_takes_every_site() -> None:
    assert ClientSampling(kind="poisson", rate=1.0).drawn(SITES, b"seed") == SITES


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "poisson"},
        {"kind": "fixed"},
        {"kind": "fixed", "sites": 5, "rate": 0.5},
        {"kind": "all", "sites": 5},
    ],
)
def test_a_kind_has_its_own_setting_and_no_other(table) -> None:
    with pytest.raises(ConfigError, match=r"sampling\.(rate|sites)"):
        ClientSampling(**table)


def agreement(*settings: str, sites: int = 40) -> Agreement:
    table = {"federation": {"sites": list(SITES[:sites])}, "privacy": {"mode": "off"}}
    config = config_file.parse(table, settings)
    return propose(config, "run", dict.fromkeys(SITES[:sites], 50), "0" * 64)


def test_a_round_sums_over_its_sample_and_the_evaluation_over_all() -> None:
    agreed = agreement("sampling.kind=fixed", "sampling.sites=10", "run.rounds=5")
    groups = [sum_groups(agreed, number) for number in range(1, 7)]
    assert [len(group.sites) for (group,) in groups] == [10, 10, 10, 10, 10, 40]
    assert len({group.sites for (group,) in groups[:5]}) == 5
    assert {group.quorum for (group,) in groups[:5]} == {7}
    outsider = next(site for site in SITES[:40] if site not in groups[0][0].sites)
    with pytest.raises(ProtocolViolation, match="not in the sample"):
        sum_group_of(agreed, 1, outsider)


def test_the_quorum_of_a_poisson_sample_does_not_depend_on_it() -> None:
    agreed = agreement("sampling.kind=poisson", "sampling.rate=0.25", "run.rounds=50")
    sizes = {len(group.sites) for n in range(1, 51) for group in sum_groups(agreed, n)}
    assert len(sizes) > 3
    rules = agreed.federation
    assert smallest_sum_group(agreed).quorum == sample_quorum(agreed.sampling, 40, rules.quorum)


def test_an_agreement_without_a_sample_has_the_bytes_it_had_before() -> None:
    assert b'sampling"' not in agreement().to_bytes()
    assert b'sampling"' in agreement("sampling.kind=fixed", "sampling.sites=10").to_bytes()


@pytest.mark.parametrize(
    "settings",
    [
        ("sampling.kind=fixed", "sampling.sites=41"),
        ("sampling.kind=poisson", "sampling.rate=0.01"),
        ("sampling.kind=fixed", "sampling.sites=10", "federation.neighbours=8"),
        ("sampling.kind=fixed", "sampling.sites=10", "robustness.aggregate=median",
         "robustness.groups=4"),
    ],
)  # fmt: skip
def test_what_a_sample_cannot_be_joined_with_is_refused(settings) -> None:
    with pytest.raises(ConfigError):
        agreement(*settings)


def test_samples_are_the_same_on_every_machine() -> None:
    drawn = ClientSampling(kind="fixed", sites=4).drawn(SITES[:12], b"known")
    coins = np.frombuffer(__import__("hashlib").shake_256(b"known").digest(96), "<u8")
    assert drawn == tuple(sorted(SITES[i] for i in np.argsort(coins)[:4]))
