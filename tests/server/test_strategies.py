"""Every strategy against what its paper says that it does, over real rounds and contributions.

Least squares have closed forms for all that matters here: for site i with rows X, t the loss is
mean (x w - t)^2 / 2, its Hessian H_i = X'X / n and its minimum w_i; all sites' rows are one least
squares problem, whose minimum is the optimum of the federation.
"""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from rounds_in_memory import Played, SitesTask, play, prepared, rows_of
from torch import nn
from torch.nn.functional import cross_entropy

from federation.config import ServerOptimizer
from federation.control_variates import own_control, server_control
from federation.entropy import SeededEntropy
from privacy.dp_sgd import Descent, train_without_privacy
from privacy.flat_parameters import flat_parameters, load_flat_parameters
from privacy.plan import NonPrivatePlan
from server import optimizer

SIZES = {"north": 20, "east": 30, "south": 40, "west": 25}
D = 3
RATE, STEPS = 0.1, 15
LEAST = {"local_steps": STEPS, "sampling_rate": 1.0, "learning_rate": RATE, "update_clip": 50.0}


@cache
def least_squares() -> SitesTask:
    """Sites that differ in where their rows lie, and so in Hessian and minimum."""
    random = np.random.default_rng(7)
    rows = {}
    for k, (site, n) in enumerate(SIZES.items()):
        inputs = random.normal(0.0, 1.0, (n, D)) * (0.4 + 0.5 * random.random(D)) + (k - 1.5) / 2
        targets = random.random(n) < 0.15 + 0.25 * k
        rows[site] = rows_of(torch.tensor(inputs), torch.tensor(targets).long())
    return SitesTask(rows, lambda: nn.Linear(D, 1, bias=False), squared_error)


def squared_error(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output[:, 0] - target) ** 2 / 2


def hessian(site: str) -> np.ndarray:
    x = least_squares().rows[site].inputs.double().numpy()
    return x.T @ x / len(x)


def moment(site: str) -> np.ndarray:
    rows = least_squares().rows[site]
    x = rows.inputs.double().numpy()
    return x.T @ rows.targets.double().numpy() / len(x)


def share(site: str) -> float:
    return SIZES[site] / sum(SIZES.values())


def minimum(site: str) -> np.ndarray:
    return np.linalg.solve(hessian(site), moment(site))


def mean_over_sites(of) -> np.ndarray:
    return sum(share(site) * of(site) for site in SIZES)


def optimum() -> np.ndarray:
    return np.linalg.solve(mean_over_sites(hessian), mean_over_sites(moment))


def pull(site: str, mu: float = 0.0) -> np.ndarray:
    """What K local steps make of the gradient: y_i - x = A_i (b_i - H_i x), pulled back by mu.

    With G = H_i + mu the steps are y+ = y - l (G (y - x) - (b_i - H_i x)), so
    A_i = (I - (I - l G)^K) G^-1.
    """
    g = hessian(site) + mu * np.eye(D)
    left = np.linalg.matrix_power(np.eye(D) - RATE * g, STEPS)
    return (np.eye(D) - left) @ np.linalg.inv(g)


def stalling_point(mu: float = 0.0) -> np.ndarray:
    """Where the sites pull apart by nothing in the mean: sum_i p_i A_i (b_i - H_i x) = 0."""
    return np.linalg.solve(
        mean_over_sites(lambda site: pull(site, mu) @ hessian(site)),
        mean_over_sites(lambda site: pull(site, mu) @ moment(site)),
    )


def trained(tmp_path, rounds: int, lost=lambda _n, _s: "", **more) -> Played:
    training = LEAST | more.pop("training", {})
    table = {"run": {"rounds": rounds, "seed": 5}, "training": training} | more
    return play(tmp_path, least_squares(), table, lost)


# -- FedAvg and SCAFFOLD ---------------------------------------------------------------------


def test_fedavg_with_many_local_steps_stalls_at_a_biased_point_whose_form_is_known(
    tmp_path,
) -> None:
    found = trained(tmp_path, 60).models[-1]
    np.testing.assert_allclose(found, stalling_point(), atol=1e-5)
    assert np.linalg.norm(found - optimum()) > 0.02


def test_scaffold_reaches_the_optimum_with_the_same_steps(tmp_path) -> None:
    played = trained(tmp_path, 60, training={"algorithm": "scaffold"})
    np.testing.assert_allclose(played.models[-1], optimum(), atol=1e-5)
    # Where it stands still, a site's control is its gradient there, and their mean is nothing.
    for site in SIZES:
        gradient = hessian(site) @ optimum() - moment(site)
        own = played.sums.states[site, 60].control
        np.testing.assert_allclose(own, gradient, atol=1e-4)
        assert np.linalg.norm(gradient) > 0.02
    np.testing.assert_allclose(played.checkpoints[-1].control, 0.0, atol=1e-4)


def losses_of_some(number: int, site: str) -> str:
    lost = {
        (2, "east"): "before",
        (3, "south"): "after",
        (4, "south"): "before",
        (6, "west"): "after",
    }
    return lost.get((number, site), "")


def textbook_scaffold(start: np.ndarray, rounds: int, lost) -> list[np.ndarray]:
    """Algorithm 1 of arXiv:1910.06378 with option II as it is printed; weights are the sites' rows.

    Controls are kept by the algorithm as such: c_i+ by its own formula, c by the mean difference.
    """
    x, c = start.astype(float), np.zeros(D)
    own, models = {site: np.zeros(D) for site in SIZES}, [start]
    for number in range(1, rounds + 1):
        moved, changed, weight = np.zeros(D), np.zeros(D), 0.0
        for site in SIZES:
            if lost(number, site):
                continue
            y = x.copy()
            for _ in range(STEPS):
                y -= RATE * (hessian(site) @ y - moment(site) - own[site] + c)
            after = own[site] - c + (x - y) / (STEPS * RATE)
            moved += share(site) * (y - x)
            changed += share(site) * (after - own[site])
            weight += share(site)
            own[site] = after
        x, c = x + moved / weight, c + changed
        models.append(x)
    return models


def test_scaffold_is_algorithm_1_whoever_is_lost_before_or_after_its_training(tmp_path) -> None:
    played = trained(tmp_path, 8, losses_of_some, training={"algorithm": "scaffold"})
    theirs = textbook_scaffold(played.models[0], 8, losses_of_some)
    np.testing.assert_allclose(played.models, theirs, atol=2e-6)
    assert np.abs(np.diff(theirs, axis=0)).max() > 0.05


def sum_of_controls(played: Played, last: int) -> np.ndarray:
    counted = dict(
        zip(played.rounds.agreement.sites, played.checkpoints[last].counted, strict=True)
    )
    kept = [
        share(site) * played.sums.states[site, int(number)].control
        for site, number in counted.items()
        if number
    ]
    return sum(kept, np.zeros(D))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"training": {"update_clip": 0.05}},
        {"federation": {"sites": list(SIZES), "update_bits": 16}, "training": {"update_clip": 1.0}},
        {"privacy": {"noise_multiplier": 1.0, "delta": 1e-3}},
        {"server": {"optimizer": "fedadam", "learning_rate": 0.1}},
    ],
    ids=["plain", "clipped", "coarse", "noised", "fedadam"],
)
def test_the_coordinators_control_is_the_mean_of_the_sites_whatever_was_clipped_or_lost(
    tmp_path, more
) -> None:
    training = more.get("training", {}) | {"algorithm": "scaffold"}
    played = trained(tmp_path, 8, losses_of_some, **more | {"training": training})
    for last, checkpoint in enumerate(played.checkpoints):
        np.testing.assert_allclose(checkpoint.control, sum_of_controls(played, last), atol=1e-12)
    assert np.linalg.norm(played.checkpoints[-1].control) > 1e-3


def test_one_local_step_of_scaffold_is_gradient_descent_on_all_rows(tmp_path) -> None:
    played = trained(tmp_path, 6, training={"algorithm": "scaffold", "local_steps": 1})
    w = played.models[0]
    for model in played.models[1:]:
        w = w - RATE * (mean_over_sites(hessian) @ w - mean_over_sites(moment))
        np.testing.assert_allclose(model, w, atol=1e-6)


def test_a_control_forgets_nothing_of_sites_that_are_out() -> None:
    # N sites of equal weight, one of them in the sum: c moves by its difference over N.
    c, own, sent = np.array([0.5]), np.array([0.25]), np.array([-2.0])
    after = own_control(own, c, sent, travelled=2.0)
    assert after == 0.25 - 0.5 + 1.0
    assert server_control(c, sent, share=1 / 4, travelled=2.0) == c + (after - own) / 4


# -- FedProx ---------------------------------------------------------------------------------


def local_update(site: str, mu: float | None, steps: int) -> np.ndarray:
    """Of one site from a point far from its minimum."""
    model, rows = nn.Linear(D, 1, bias=False), least_squares().rows[site]
    load_flat_parameters(model, np.full(D, 2.0))
    descent = Descent(RATE) if mu is None else Descent(RATE, proximal_mu=mu)
    plan = NonPrivatePlan(1.0, steps, float(len(rows)))
    pair = (rows.inputs, rows.targets)
    return train_without_privacy(model, pair, squared_error, plan, descent, SeededEntropy(1)).delta


@pytest.mark.parametrize("site", SIZES)
def test_fedprox_drifts_less_the_more_it_is_pulled_and_ends_where_its_own_problem_does(
    site,
) -> None:
    drift = [np.linalg.norm(local_update(site, mu, 50)) for mu in (0.0, 0.5, 2.0, 8.0)]
    assert all(more > 1.05 * less for more, less in pairwise(drift))
    # Li et al. 2020, arXiv:1812.06127, equation 2: min f_i(w) + mu / 2 |w - x|^2.
    x = np.full(D, 2.0)
    exact = np.linalg.solve(hessian(site) + np.eye(D), moment(site) + x) - x
    np.testing.assert_allclose(local_update(site, 1.0, 400), exact, atol=1e-5)


@pytest.mark.parametrize("site", SIZES)
def test_fedprox_without_pull_is_fedavg_bit_for_bit(site) -> None:
    np.testing.assert_array_equal(local_update(site, 0.0, 50), local_update(site, None, 50))


def test_runs_of_fedprox_go_where_they_should_and_nearer_to_the_optimum_the_more_it_pulls(
    tmp_path,
) -> None:
    mu, played = 2.0, trained(tmp_path / "pulled", 6, training={"proximal_mu": 2.0})
    x = played.models[0]
    for model in played.models[1:]:
        x = x + mean_over_sites(
            lambda site, x=x: pull(site, mu) @ (moment(site) - hessian(site) @ x)
        )
        np.testing.assert_allclose(model, x, atol=2e-6)
    off = [np.linalg.norm(stalling_point(each) - optimum()) for each in (0.0, 0.5, 2.0, 8.0)]
    assert all(more > 1.05 * less for more, less in pairwise(off))


def test_a_run_of_fedprox_without_pull_is_fedavg_bit_for_bit(tmp_path) -> None:
    models = [
        trained(tmp_path / name, 3, training=training).models
        for name, training in (("none", {"proximal_mu": 0.0}), ("plain", {}))
    ]
    np.testing.assert_array_equal(*models)


# -- server optimizers ------------------------------------------------------------------------


def test_fedavgm_with_one_step_on_all_rows_is_the_heavy_ball(tmp_path) -> None:
    beta, rounds = 0.8, 10
    server = {"optimizer": "fedavgm", "momentum": beta}
    played = trained(tmp_path, rounds, server=server, training={"local_steps": 1})
    before = here = played.models[0]
    for model in played.models[1:]:
        gradient = mean_over_sites(hessian) @ here - mean_over_sites(moment)
        # Polyak 1964: x+ = x - l f'(x) + b (x - x-).
        before, here = here, here - RATE * gradient + beta * (here - before)
        np.testing.assert_allclose(model, here, atol=2e-6)


def steps_of(rule: ServerOptimizer, updates: np.ndarray) -> tuple[np.ndarray, dict]:
    model = np.zeros(updates.shape[1])
    state = optimizer.init(rule, len(model))
    for update in updates:
        state, model = optimizer.apply(rule, state, model, update)
    return model, state


@pytest.mark.parametrize("name", ["fedadam", "fedyogi", "fedadagrad"])
def test_adaptive_steps_are_of_one_length_whatever_the_updates_scale(name) -> None:
    # The rare and small coordinate goes as far as the large one: that is what adaptivity is for.
    rule = ServerOptimizer(optimizer=name, learning_rate=0.1, beta_1=0.0, beta_2=0.9, tau=1e-9)
    sparse = np.zeros((5, 2))
    sparse[:, 0], sparse[4, 1] = 100.0, 0.01
    first, _ = steps_of(rule, np.array([[100.0, 0.01]]))
    # v_0 is tau^2 and (1 - beta_2) of the square, or all of it.
    kept = {"fedadam": 0.1, "fedyogi": 0.1, "fedadagrad": 1.0}[name]
    np.testing.assert_allclose(first, 0.1 / np.sqrt(kept), rtol=1e-6)
    late = steps_of(rule, sparse)[0] - steps_of(rule, sparse[:4])[0]
    assert late[1] > late[0]
    plain = steps_of(ServerOptimizer(), np.array([[100.0, 0.01]]))[0]
    assert plain[0] / plain[1] == pytest.approx(1e4)


def test_adam_climbs_on_reddi_kale_and_kumars_example_and_adagrad_descends() -> None:
    # Reddi et al. 2018, arXiv:1904.09237, section 3: gradient C once in three rounds, else -1;
    # beta_1 = 0, beta_2 = 1 / (1 + C^2). The regret of standing right grows for ever.
    c = 3.0
    updates = np.tile([[-c], [1.0], [1.0]], (300, 1))
    shared = {"learning_rate": 0.01, "beta_1": 0.0, "tau": 1e-6}
    adam = ServerOptimizer(optimizer="fedadam", beta_2=1 / (1 + c**2), **shared)
    adagrad = ServerOptimizer(optimizer="fedadagrad", **shared)
    assert steps_of(adam, updates)[0][0] > 1.0
    assert steps_of(adagrad, updates)[0][0] < -0.1


def test_yogis_second_moment_falls_by_what_comes_in_and_adams_by_what_is_there() -> None:
    # Zaheer et al. 2018, "Adaptive Methods for Nonconvex Optimization", section 4: where v is far
    # above g^2, Adam's step grows by a factor a round and Yogi's by next to nothing.
    loud, quiet, beta_2, tau = 100, 300, 0.99, 1e-3
    updates = np.concatenate([np.ones((loud, 1)), np.full((quiet, 1), 1e-3)])
    shared = {"beta_1": 0.0, "beta_2": beta_2, "tau": tau}
    moments = {
        name: steps_of(ServerOptimizer(optimizer=name, **shared), updates)[1]["variance"][0]
        for name in ("fedadam", "fedyogi")
    }
    v = 1 - (1 - tau**2) * beta_2**loud
    assert moments["fedadam"] == pytest.approx(1e-6 + (v - 1e-6) * beta_2**quiet, rel=1e-9)
    # Yogi adds (1 - beta_2) a round until it has come to 1, and then takes as little away.
    assert moments["fedyogi"] == pytest.approx(1.0, rel=0.011)
    assert moments["fedyogi"] > 30 * moments["fedadam"]


# -- layers that stay at the sites -------------------------------------------------------------

BODY = ("0.weight", "0.bias")
HEAD = ["2.*"]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))


def cross_entropies(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return cross_entropy(output, target, reduction="none")


def two_moons_of_meaning(*, alike: bool) -> SitesTask:
    """Four sites; unless they are alike, half of them mean "no" where the others mean "yes"."""
    random, rows = np.random.default_rng(3), {}
    common = random.normal(0.0, 1.0, (60, 2))
    for k, site in enumerate(("north", "east", "south", "west")):
        inputs = common if alike else random.normal(0.0, 1.0, (60, 2))
        targets = (inputs[:, 0] > inputs[:, 1]).astype(int)
        flipped = targets if alike or k % 2 == 0 else 1 - targets
        rows[site] = rows_of(torch.tensor(inputs), torch.tensor(flipped))
    return SitesTask(rows, network, cross_entropies)


PERSONAL = {"local_steps": 5, "sampling_rate": 1.0, "learning_rate": 0.5}


def personal(tmp_path, task, rounds=12, lost=lambda _n, _s: "", layers=HEAD, **more) -> Played:
    training = PERSONAL | {"local_layers": layers} | more
    table = {"run": {"rounds": rounds, "seed": 5}, "training": training}
    return play(tmp_path, task, table, lost)


def test_personal_heads_learn_what_labels_mean_at_each_site_and_one_model_cannot(tmp_path) -> None:
    task = two_moons_of_meaning(alike=False)
    own = personal(tmp_path / "own", task).utility.accuracy.value
    one = personal(tmp_path / "one", task, layers=[]).utility.accuracy.value
    assert own > 0.9
    assert one < 0.65


def test_personal_heads_of_sites_that_are_alike_are_fedavgs_head(tmp_path) -> None:
    task = two_moons_of_meaning(alike=True)
    heads, whole = personal(tmp_path / "a", task), personal(tmp_path / "b", task, layers=[])
    model = network()
    load_flat_parameters(model, whole.models[-1])
    body = np.concatenate([dict(model.named_parameters())[n].detach().flatten() for n in BODY])
    np.testing.assert_allclose(heads.models[-1], body, atol=1e-5)
    heads.utility  # noqa: B018 - its round says which of the sites' layers are meant
    for site in task.rows:
        for name, tensor in heads.layers(site).items():
            np.testing.assert_allclose(
                tensor, dict(model.named_parameters())[name].detach(), atol=1e-5
            )


def test_a_vector_has_no_number_of_what_stays(tmp_path) -> None:
    rounds = prepared(
        tmp_path, two_moons_of_meaning(alike=True), {"training": {"local_layers": HEAD}}
    )
    assert rounds.layouts.parameters == 2 * 8 + 8
    assert len(flat_parameters(network())) == 2 * 8 + 8 + 8 * 2 + 2


@pytest.mark.parametrize(
    "choice",
    [
        {"local_layers": HEAD},
        {"algorithm": "scaffold", "local_layers": []},
        {"algorithm": "scaffold", "local_layers": HEAD},
    ],
)
def test_training_for_a_sum_that_a_site_is_not_in_leaves_no_trace(tmp_path, choice) -> None:
    def lost(when: str):
        return lambda number, site: when if (number, site) in {(2, "east"), (3, "east")} else ""

    task, layers = two_moons_of_meaning(alike=False), choice["local_layers"]
    more = {key: value for key, value in choice.items() if key != "local_layers"}
    before, after = (
        personal(tmp_path / when, task, 6, lost(when), layers, **more)
        for when in ("before", "after")
    )
    np.testing.assert_array_equal(before.models, after.models)
    assert not np.array_equal(
        before.models[-1], personal(tmp_path, task, 6, layers=layers, **more).models[-1]
    )
    np.testing.assert_array_equal(before.checkpoints[-1].counted, 6.0)
    counted = dict(zip(task.rows, after.checkpoints[3].counted, strict=False))
    assert sorted(counted.values()) == [1.0, 3.0, 3.0, 3.0]
