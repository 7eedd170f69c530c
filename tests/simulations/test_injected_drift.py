"""Injected drift changes what its kind says, leaves what it says stays, and its truth is kept."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from federation import config_file
from federation.drift_choice import InjectedDrift
from federation.errors import ConfigError
from federation.simulation_choice import Simulation
from federation.table_columns import encode_inputs
from federation.task import Rows, SiteRequest, held_out_rows, window_names
from federation.task_loading import load_task
from simulations.injected_drift import drifting, injected_truth, strength_in

ACS = load_task("acs-employment", {"regions": 3})
REQUEST = SiteRequest("region-01", 5)


def drift(**given_: object) -> InjectedDrift:
    return InjectedDrift(**({"kind": "covariate", "from_window": "window-003"} | given_))


def simulated(*drifts: InjectedDrift, windows: int = 4, task=ACS, seed: int = 1):
    return drifting(task, Simulation(windows=windows, drift=drifts), seed)


def rows_of(task, window: str) -> Rows:
    return held_out_rows(task, REQUEST, window)


def identity(rows: Rows) -> list[bytes]:
    """Each row as bytes: features, groups and label together."""
    columns = [*rows.features.values(), *rows.groups.values(), rows.targets.numpy()]
    return [row.tobytes() for row in np.stack([c.astype(float) for c in columns], axis=1)]


def test_windows_are_a_partition_of_the_held_out_rows() -> None:
    """Every held-out row stands in the reference or one window, and train rows in none."""
    task, plain = simulated(), ACS.load(REQUEST)
    assert window_names(task) == ("window-001", "window-002", "window-003", "window-004")
    parts = [rows_of(task, name) for name in ("reference", *window_names(task))]
    dealt = sorted(one for part in parts for one in identity(part))
    assert dealt == sorted([*identity(plain.reference), *identity(plain.current)])
    assert len(parts[0]) == len(dealt) // 3
    assert max(map(len, parts[1:])) - min(map(len, parts[1:])) <= 1
    assert identity(task.load(REQUEST).train) == identity(plain.train)
    assert identity(task.load(REQUEST).current) == identity(parts[-1])


def test_more_windows_than_rows_are_refused() -> None:
    heart, request = load_task("heart", {}), SiteRequest("switzerland", 5)
    held_out = sum(map(len, (heart.load(request).reference, heart.load(request).current)))
    with pytest.raises(ConfigError, match=rf"at most {held_out - 1}: switzerland holds out"):
        simulated(windows=held_out, task=heart).load(request)
    assert len(simulated(windows=held_out - 1, task=heart).load(request).current) == 1


@pytest.mark.parametrize(
    "one",
    [drift(feature="AGEP"), drift(kind="label"), drift(kind="concept", strength=0.5),
     drift(feature="AGEP", how="shift")],
)  # fmt: skip
def test_windows_before_a_drift_and_other_sites_are_left_alone(one: InjectedDrift) -> None:
    task, plain = simulated(one), simulated()
    for name in ("reference", "window-001", "window-002"):
        assert identity(rows_of(task, name)) == identity(rows_of(plain, name))
    for name in ("window-003", "window-004"):
        assert identity(rows_of(task, name)) != identity(rows_of(plain, name))
    elsewhere = simulated(one.model_copy(update={"sites": ("region-02",)}))
    assert identity(rows_of(elsewhere, "window-003")) == identity(rows_of(plain, "window-003"))


def test_what_is_drawn_is_its_seeds_and_windows() -> None:
    one = drift(kind="label")
    first = identity(rows_of(simulated(one), "window-003"))
    assert first == identity(rows_of(simulated(one), "window-003"))
    assert first != identity(rows_of(simulated(one, seed=2), "window-003"))


def test_covariate_resampling_moves_the_feature_and_keeps_labels_given_it() -> None:
    one = drift(feature="AGEP", strength=1.0, from_window="window-001")
    before = rows_of(simulated(windows=1), "window-001")
    after = rows_of(simulated(one, windows=1), "window-001")
    reference = rows_of(simulated(windows=1), "reference").features["AGEP"]
    moved = (after.features["AGEP"].mean() - before.features["AGEP"].mean()) / reference.std()
    assert 0.6 < moved < 1.1  # 1 if age were normal
    # Row by row: how often a label is drawn at an age depends on nothing but how often it was
    # there. Weighted by the tilt, the label's mean before is what it is after.
    z = (before.features["AGEP"] - reference.mean()) / reference.std()
    weights = np.exp(z) / np.exp(z).sum()
    expected = float(weights @ before.targets.numpy())
    count = int(after.targets.sum())
    assert binom.ppf(1e-6, len(after), expected) <= count <= binom.isf(1e-6, len(after), expected)
    assert set(identity(after)) <= set(identity(before))


def test_covariate_resampling_by_level_keeps_labels_within_each_level() -> None:
    one = drift(feature="DIS", level="1", strength=1.5, from_window="window-001")
    before = rows_of(simulated(windows=1), "window-001")
    after = rows_of(simulated(one, windows=1), "window-001")
    for code in (0, 1):
        was, now = (r.targets.numpy()[r.features["DIS"] == code] for r in (before, after))
        assert (
            binom.ppf(1e-6, len(now), was.mean())
            <= now.sum()
            <= binom.isf(1e-6, len(now), was.mean())
        )
    odds = [np.mean(r.features["DIS"] == 0) / np.mean(r.features["DIS"] == 1)
            for r in (before, after)]  # fmt: skip
    assert np.log(odds[1] / odds[0]) == pytest.approx(1.5, abs=0.35)


def test_a_label_drift_moves_the_base_rate_and_keeps_rows_given_the_label() -> None:
    one = drift(kind="label", strength=1.0, from_window="window-001")
    before = rows_of(simulated(windows=1), "window-001")
    after = rows_of(simulated(one, windows=1), "window-001")
    p = before.targets.double().mean().item()
    expected = np.e * p / (np.e * p + 1 - p)
    count = int(after.targets.sum())
    assert binom.ppf(1e-6, len(after), expected) <= count <= binom.isf(1e-6, len(after), expected)
    for label in (0, 1):
        was, now = (r.features["AGEP"][r.targets.numpy() == label] for r in (before, after))
        assert now.mean() == pytest.approx(was.mean(), abs=6 * was.std() / np.sqrt(len(now)))


def test_a_shift_moves_every_value_and_the_models_input_with_it() -> None:
    one = drift(feature="AGEP", how="shift", strength=0.5, from_window="window-001")
    before = rows_of(simulated(windows=1), "window-001")
    after = rows_of(simulated(one, windows=1), "window-001")
    deviation = rows_of(simulated(windows=1), "reference").features["AGEP"].std()
    assert np.allclose(after.features["AGEP"] - before.features["AGEP"], 0.5 * deviation)
    assert np.array_equal(
        after.inputs.numpy(), encode_inputs(after.features, ACS.schema.features).astype("f4")
    )
    assert not torch.equal(after.inputs, before.inputs)
    assert torch.equal(after.targets, before.targets)


@pytest.mark.parametrize(
    ("region", "inside"),
    [
        ({}, lambda rows: np.ones(len(rows), bool)),
        ({"feature": "AGEP", "above": 40.0}, lambda rows: rows.features["AGEP"] > 40),
        ({"feature": "sex", "level": "female"}, lambda rows: rows.groups["sex"] == 1),
        ({"feature": "DIS", "level": "1"}, lambda rows: rows.features["DIS"] == 0),
    ],
)
def test_a_concept_drift_flips_labels_in_its_region_and_moves_no_row(region: dict, inside) -> None:
    one = drift(kind="concept", strength=0.3, from_window="window-001", **region)
    before = rows_of(simulated(windows=1), "window-001")
    after = rows_of(simulated(one, windows=1), "window-001")
    assert torch.equal(before.inputs, after.inputs)
    flipped = (before.targets != after.targets).numpy()
    there = inside(before)
    assert not flipped[~there].any()
    of = int(there.sum())
    assert binom.ppf(1e-6, of, 0.3) <= flipped.sum() <= binom.isf(1e-6, of, 0.3)


def test_a_task_whose_input_is_not_made_of_its_features_is_not_shifted() -> None:
    digits = load_task("digits", {"clients": 3})
    feature = digits.schema.features[0].name
    one = drift(feature=feature, how="shift", from_window="current")
    with pytest.raises(ConfigError, match="whose input is made of its features"):
        simulated(one, windows=0, task=digits).load(SiteRequest("site-01", 5))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=50)
def test_a_gradual_drift_grows_in_equal_steps_to_its_strength(
    start: int, over: int, at: int
) -> None:
    windows = [f"w{number}" for number in range(13)]
    one = drift(kind="label", from_window=f"w{start}", over_windows=over, strength=2.0)
    course = [strength_in(one, windows, name) for name in windows]
    assert course[:start] == [0.0] * start
    assert course[at] <= course[min(at + 1, 12)] <= 2.0
    steps = np.diff(course[start - 1 : start + over])
    assert np.allclose(steps, 2.0 / over)


def test_the_truth_names_windows_kinds_and_strengths() -> None:
    gradual = drift(kind="concept", strength=0.4, over_windows=2, sites=("region-02",))
    truth = injected_truth(simulated(gradual), [gradual], ACS.sites)
    assert [(c.window, c.strength, c.sites) for c in truth.changes] == [
        ("window-003", 0.2, ("region-02",)),
        ("window-004", 0.4, ("region-02",)),
    ]
    assert truth.kinds_in("window-002") == frozenset()
    assert truth.kinds_in("window-004") == {"concept"}


@pytest.mark.parametrize(
    ("one", "key"),
    [
        (drift(feature="AGE"), "feature"),
        (drift(feature="DIS"), "level"),
        (drift(feature="DIS", level="1", how="shift"), "feature"),
        (drift(kind="label", level="maybe"), "level"),
        (drift(kind="concept", strength=0.5, feature="AGEP"), "above"),
        (drift(kind="concept", strength=0.5, feature="sex", level="x"), "level"),
        (drift(kind="label", from_window="window-005"), "from_window"),
        (drift(kind="label", from_window="reference"), "from_window"),
    ],
)
def test_what_the_task_does_not_have_is_refused_by_key(one: InjectedDrift, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^simulation\.drift\.0\.{key} ="):
        simulated(one)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"kind": "covariate", "from_window": "x"}, "feature"),
        ({"kind": "concept", "from_window": "x", "strength": 1.5}, "strength"),
        ({"kind": "label", "from_window": "x", "how": "shift"}, "how"),
        ({"kind": "label", "from_window": "x", "strength": 0.0}, "strength"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(table: dict, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^simulation\.drift\.0\.{key} ="):
        config_file.parse({"simulation": {"drift": [table]}})
