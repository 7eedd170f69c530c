"""The commented federation.toml that `hedgerow init` writes; a test reads it back as a config."""

import json
from collections.abc import Mapping

from federation.config import FederationConfig
from simulations.defaults import default_config
from simulations.task_catalogue import TASKS

_HEAD = """\
# One federated run. Run it with: hedgerow simulate THIS_FILE
# Every line may be left out; docs/configuration.md says what then holds.
version = 1

[run]
name = "{name}"
rounds = {rounds}
seed = 2026                    # the same config and seed give the same model, bit for bit
attempts_per_round = 1         # a retry resends the same noised update and costs no privacy
on_failed_round = "stop"       # or "continue": go on with the model as it was

[task]
name = "{task}"                # hedgerow tasks list, or "package.module:attribute"
{options}
[federation]
# sites = ["a", "b", "c"]      # default: all the task has data for; or how many, such as 12
# quorum = 3                   # fewest sites whose sum may be opened; default: two thirds
# threshold = 3                # fewest sites that together can open anything; default: a majority
round_timeout_seconds = 120.0  # for each exchange of a round
"""

_COHORTS = """
[cohorts]                      # named sets of 3 or more sites whose sums are read apart
{cohorts}"""

_TAIL = """
[training]                     # at each site, each round
local_steps = {local_steps}
sampling_rate = {sampling_rate}           # each row joins each step's batch with this probability
learning_rate = {learning_rate}
momentum = {momentum}
proximal_mu = 0.0              # > 0: FedProx
# algorithm = "scaffold"       # with momentum = 0.0 and proximal_mu = 0.0
# local_layers = ["head.*"]    # parameters that stay at each site
update_clip = 20.0             # largest L2 norm of a site's update

[server]
optimizer = "fedavg"           # or "fedavgm", "fedadam", "fedyogi", "fedadagrad"
learning_rate = 1.0

[robustness]
aggregate = "mean"             # or "median", "trimmed_mean": over random groups' means
# groups = 4                   # for those two: of 3 or more sites each
# trim = 0.2                   # of trimmed_mean: share of groups left out on either side

[privacy]
mode = "record"                # or "off": no privacy, and every output says so
epsilon = {epsilon}                  # target for the whole run; or give noise_multiplier instead
delta = {delta:g}                  # at most 1 / rows of the largest site
max_grad_norm = {max_grad_norm}

[mitigation]
method = "none"                # or "reweighing", "adversarial", "constrained": docs/mitigation.md
# criterion = "demographic_parity"   # or "equal_opportunity", "equalized_odds": one is named
# attribute = "sex"            # whose groups shall fare more alike

[evaluation]
score_bins = 100
feature_bins = 64
intersections = {intersections}
minimum_cell = 10              # groups with fewer rows are not shown
minimum_contributors = 3       # fewest sites in a cohort that is read apart

[site_policy]                  # what each simulated site demands for itself
# epsilon_budget = {epsilon}         # default: privacy.epsilon
minimum_quorum = 3
minimum_threshold = 2

[simulation]
backend = "embedded"           # or "ray" (pip install '.[ray]')
workers = 2
baselines = true               # put each site alone and the centralized model beside the result
# partition = {{ kind = "dirichlet", alpha = 0.5 }}   # or iid, quantity, feature, time: other sites
# What goes wrong, drifts or attacks: docs/simulation-faults.md
# attackers = [ {{ site = "...", kind = "sign_flip" }} ]   # or label_flip, backdoor, ...
# dropouts = [ {{ site = "...", round = 3, phase = "train" }} ]
# faults.dropout_rate = {{ train = 0.05 }}
# stragglers = {{ sigma = 0.5, deadline_seconds = 3.0 }}    # virtual seconds
# availability = {{ kind = "diurnal", rate = 0.8 }}
# drift = [ {{ kind = "label", from_window = "current", strength = 1.0 }} ]
"""


_NO_OPTIONS = """\
# options = { }                # keyword arguments of the task
"""

_OPTIONS = """\
# options = {{ model = "{model}" }}  # keyword arguments of the task
"""


def example(task: str) -> str:
    """A commented configuration for a built-in task or `package.module:attribute`.

    Raises:
        ConfigError: no such task.
    """
    config = FederationConfig() if ":" in task else default_config(task)
    models = {known.name: known.models for known in TASKS}
    values = {
        "name": task.partition(":")[0].replace(".", "-").replace("_", "-").lower(),
        "task": task,
        "options": _OPTIONS.format(model=models[task][-1]) if task in models else _NO_OPTIONS,
        "rounds": config.run.rounds,
        "local_steps": config.training.local_steps,
        "sampling_rate": config.training.sampling_rate,
        "learning_rate": config.training.learning_rate,
        "momentum": config.training.momentum,
        "epsilon": config.privacy.epsilon,
        "delta": config.privacy.delta,
        "max_grad_norm": config.privacy.max_grad_norm,
        "intersections": json.dumps(config.evaluation.intersections),
    }
    cohorts = _COHORTS.format(cohorts=_cohort_lines(config.cohorts)) if config.cohorts else ""
    return (_HEAD + cohorts + _TAIL).format(**values)


def _cohort_lines(cohorts: Mapping[str, tuple[str, ...]]) -> str:
    return "".join(f"{name} = {json.dumps(sites)}\n" for name, sites in cohorts.items())
