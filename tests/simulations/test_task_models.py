"""The models of the built-in tasks: what they are made of, and that they learn, also in private."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from federation.entropy import SeededEntropy
from federation.initial_model import initial_model, parameter_count
from federation.table_columns import input_width
from federation.task import SiteRequest, Task
from federation.task_loading import load_task
from privacy.calibration import noise_multiplier
from privacy.dp_sgd import Descent, train_privately, train_without_privacy
from privacy.flat_parameters import flat_parameters, load_flat_parameters
from privacy.model_validation import (
    require_private_layers,
    require_records_apart,
    require_travelling_state,
)
from privacy.plan import DpSgdPlan, NonPrivatePlan
from simulations import tasks_cli
from simulations.defaults import BUILT_IN, default_config
from simulations.task_catalogue import TASKS, table
from simulations.tasks import languages
from simulations.tasks.adult import AdultTask
from simulations.tasks.character_transformer import PADDING, Attention, CharacterTransformer
from simulations.tasks.low_rank import LowRank, adapt
from simulations.tasks.mnist import MnistTask
from simulations.tasks.residual_network import residual_network

SHIPPED = [(known.name, model) for known in TASKS if not known.fetched for model in known.models]
ALL = [(known.name, model) for known in TASKS for model in known.models]


def rows(task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    """A few, drawn at random where the task's own have to be fetched first."""
    if isinstance(task, MnistTask):
        return torch.rand(8, 1, 28, 28), torch.arange(8)
    if isinstance(task, AdultTask):
        return torch.rand(8, input_width(task.schema.features)), torch.arange(8) % 2
    train = task.load(SiteRequest(task.sites[0], 1)).train
    return train.inputs[:8], train.targets[:8]


def test_the_catalogue_names_every_built_in_task_and_its_usual_model() -> None:
    assert [known.name for known in TASKS] == list(BUILT_IN)
    for known in TASKS:
        left_out = load_task(known.name, {})
        first = load_task(known.name, {"model": known.models[0]})
        assert str(initial_model(left_out, 1)) == str(initial_model(first, 1)), known.name
    assert {line[:2] for line in table()} == set(ALL)


def test_the_documents_table_is_the_commands() -> None:
    printed = CliRunner().invoke(tasks_cli.app, ["list", "--markdown"]).output.splitlines()
    written = (Path(__file__).parents[2] / "docs" / "simulation-models.md").read_text().splitlines()
    assert [line for line in written if line in printed] == printed
    shown = CliRunner().invoke(tasks_cli.app, ["list"]).output
    assert all(known.name in shown for known in TASKS)


@pytest.mark.parametrize(("name", "model"), ALL)
def test_the_model_may_be_trained_in_private(name: str, model: str) -> None:
    task = load_task(name, {"model": model})
    built = initial_model(task, 1)
    require_travelling_state(built)
    require_private_layers(built)
    require_records_apart(built, task.loss, rows(task))


@pytest.mark.parametrize(("name", "model"), ALL)
def test_the_seed_alone_makes_the_model(name: str, model: str) -> None:
    one, again = (initial_model(load_task(name, {"model": model}), 5) for _ in range(2))
    other = initial_model(load_task(name, {"model": model}), 6)
    assert all(map(torch.equal, one.parameters(), again.parameters()))
    # Of random trees the seed draws what does not travel: where they split.
    tensors = [model.state_dict() for model in (one, other)]
    assert not all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


@pytest.mark.parametrize(("name", "model"), SHIPPED)
def test_clients_can_be_folded_beside_the_batch(name: str, model: str) -> None:
    """Two models over two batches at once, by torch.func, are as each by itself."""
    task = load_task(name, {"model": model})
    models = [initial_model(task, seed) for seed in (1, 2)]
    x = torch.stack([rows(task)[0], rows(task)[0].flip(0)])
    stacked, _ = torch.func.stack_module_state(models)

    def output(values, x):
        return torch.func.functional_call(models[0], values, (x,))

    together = torch.func.vmap(output)(stacked, x)
    for folded, alone, inputs in zip(together, models, x, strict=True):
        torch.testing.assert_close(folded, alone(inputs), rtol=1e-4, atol=1e-5)


def test_what_follows_a_text_changes_nothing() -> None:
    torch.manual_seed(0)
    model = CharacterTransformer(9, 6, 3, 8, 2, 2)
    short = torch.tensor([[1.0, 4, 7, PADDING, PADDING, PADDING]])
    whole = model(short)
    cut = CharacterTransformer(9, 3, 3, 8, 2, 2)
    state = model.state_dict()
    cut.load_state_dict(state | {"places.weight": state["places.weight"][:3]})
    torch.testing.assert_close(whole, cut(short[:, :3]))
    assert not torch.allclose(whole, model(torch.tensor([[1.0, 4, 7, 7, PADDING, PADDING]])))


def test_attention_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours = Attention(8, 2)
    theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    parts = (ours.query, ours.key, ours.value)
    theirs.load_state_dict(
        {
            "in_proj_weight": torch.cat([part.weight for part in parts]),
            "in_proj_bias": torch.cat([part.bias for part in parts]),
            "out_proj.weight": ours.out.weight,
            "out_proj.bias": ours.out.bias,
        }
    )
    x, is_text = (
        torch.randn(3, 5, 8),
        torch.tensor([[True] * 5, [True] * 2 + [False] * 3, [True] * 5]),
    )
    expected, _ = theirs(x, x, x, key_padding_mask=~is_text)
    torch.testing.assert_close(ours(x, is_text), expected)


def test_an_untrained_adapter_changes_nothing_and_a_trained_one_is_one_linear_layer() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    x = torch.randn(3, 4)
    before = plain(x)
    adapt(plain, 2)
    layers = [layer for layer in plain if isinstance(layer, LowRank)]
    assert len(layers) == 2
    torch.testing.assert_close(plain(x), before, rtol=0, atol=0)
    nn.init.normal_(layers[0].up.weight)
    joined = layers[0].joined()
    torch.testing.assert_close(layers[0](x), joined(x))
    assert not torch.allclose(plain(x), before)


def test_only_adapters_and_the_last_layer_travel() -> None:
    task = languages.LanguagesTask(model="lora", rank=3)
    model = initial_model(task, 1)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(name.startswith("head.") or ".up." in name or ".down." in name for name in trained)
    width, blocks = languages.WIDTH, languages.BLOCKS
    per_block = 4 * 3 * 2 * width + 2 * 3 * 3 * width
    assert parameter_count(task, 1) == blocks * per_block + 12 * width + 12
    frozen = [p for p in model.parameters() if not p.requires_grad]
    other = initial_model(task, 2)
    again = [p for p in other.parameters() if not p.requires_grad]
    assert all(map(torch.equal, frozen, again))  # no seed decides what does not travel


def test_phrases_are_read_character_by_character() -> None:
    codes = languages.encode(["Ab", "x" * 60, "日"]).int()
    a, b, x = (languages.CHARACTERS[sign] for sign in "abx")
    assert codes[0, :4].tolist() == [languages.START, a, b, PADDING]
    assert codes[1].tolist() == [languages.START] + [x] * (languages.LENGTH - 1)
    assert codes[2, :3].tolist() == [languages.START, languages.OTHER, PADDING]
    assert len(languages.CHARACTERS) == len(set(languages.CHARACTERS.values()))
    assert min(languages.CHARACTERS.values()) > languages.OTHER
    assert not set(languages.PLAIN) & set(languages.ACCENTED)


def test_a_phrase_knows_its_language_and_family() -> None:
    data = languages.LanguagesTask().load(SiteRequest("territories", 1))
    for part in (data.train, data.reference, data.current):
        families = [languages.FAMILIES.index(languages.FAMILY[languages.LANGUAGES[int(t)]])
                    for t in part.targets]  # fmt: skip
        assert part.groups["family"].tolist() == families
        assert (part.features["accented"] <= 1).all()
    table = languages._table()
    assert not table.duplicated("phrase").any()


def test_a_residual_block_halves_what_it_is_told_to() -> None:
    model = residual_network(1, 10, (8, 16, 16))
    x = torch.rand(2, 1, 28, 28)
    sizes = []
    for layer in model:
        x = layer(x)
        sizes.append(tuple(x.shape[1:]))
    assert sizes[3:6] == [(8, 28, 28), (16, 14, 14), (16, 7, 7)]
    assert sizes[-1] == (10,)


def accuracy(task: Task, model: nn.Module) -> tuple[float, float]:
    """Of held-out rows, and of always saying their most frequent class."""
    parts = [task.load(SiteRequest(site, 1)) for site in task.sites]
    held_out = [part for data in parts for part in (data.reference, data.current)]
    inputs = torch.cat([part.inputs for part in held_out])
    targets = torch.cat([part.targets for part in held_out])
    with torch.no_grad():
        right = float((model(inputs).argmax(dim=1) == targets).double().mean())
    return right, float(targets.bincount().max()) / len(targets)


def federated(task: Task, name: str, epsilon: float | None, rounds: int) -> nn.Module:
    """FedAvg with the task's default training, without masks; the noise is each site's own."""
    config = default_config(name)
    rate, steps = config.training.sampling_rate, config.training.local_steps
    descent, entropy = Descent(config.training.learning_rate), SeededEntropy(1)
    delta = config.privacy.delta
    sigma = 0.0 if epsilon is None else noise_multiplier(epsilon, delta, rate, steps * rounds)
    train = {site: task.load(SiteRequest(site, 1)).train for site in task.sites}
    total = sum(len(part) for part in train.values())
    model = initial_model(task, 1)
    for round_ in range(rounds):
        before = flat_parameters(model)
        mean = np.zeros_like(before)
        for site, part in train.items():
            load_flat_parameters(model, before)
            pair, coins = (part.inputs, part.targets), entropy.child(site, round_)
            divisor = rate * len(part)
            if epsilon is None:
                plain = NonPrivatePlan(rate, steps, divisor)
                update = train_without_privacy(model, pair, task.loss, plain, descent, coins)
            else:
                plan = DpSgdPlan(rate, steps, sigma, 1.0, divisor, delta)
                update = train_privately(model, pair, task.loss, plan, descent, coins)
            mean += update.delta * (len(part) / total)
        load_flat_parameters(model, before + mean)
    return model


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "model", "rounds", "epsilon", "at_least"),
    [
        ("heart", "mlp", 20, None, 0.75),
        ("heart", "mlp", 20, 2.0, 0.72),
        ("heart", "embedding", 20, None, 0.75),
        ("heart", "embedding", 20, 2.0, 0.72),
        pytest.param("acs-employment", "logistic", 10, 4.0, 0.70, marks=SLOW),
        pytest.param("acs-employment", "embedding", 10, None, 0.70, marks=SLOW),
        pytest.param("acs-employment", "embedding", 10, 4.0, 0.65, marks=SLOW),
        pytest.param("digits", "resnet", 20, None, 0.70, marks=SLOW),
        pytest.param("digits", "resnet", 20, 8.0, 0.60, marks=SLOW),
        pytest.param("languages", "transformer", 20, None, 0.25, marks=SLOW),
        pytest.param("languages", "transformer", 20, 8.0, 0.25, marks=SLOW),
        pytest.param("languages", "lora", 20, None, 0.45, marks=SLOW),
        pytest.param("languages", "lora", 20, 8.0, 0.40, marks=SLOW),
    ],
)
def test_the_model_learns(name: str, model: str, rounds: int, epsilon, at_least: float) -> None:
    """With the task's default training; the epsilon is that of each site's records."""
    task = load_task(name, {"model": model})
    right, majority = accuracy(task, federated(task, name, epsilon, rounds))
    assert right > at_least > majority, (right, majority)


def test_accuracy_of_the_majority_is_no_learning() -> None:
    """The gates can fail: a model that says the same of every row is at the majority's rate."""
    task = load_task("heart", {"model": "mlp"})
    constant = nn.Sequential(nn.Linear(input_width(task.schema.features), 2))
    nn.init.zeros_(constant[0].weight)
    right, majority = accuracy(task, constant)
    assert right == pytest.approx(majority) or right == pytest.approx(1 - majority)
