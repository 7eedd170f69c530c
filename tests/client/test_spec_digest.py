"""A site trains under no agreement that would count something else than its own task says."""

import pytest

from client.contribution import Workbench, require_same_spec
from evaluation.run_layout import run_tally_spec
from federation.agreement import Agreement
from federation.config_file import parse
from federation.entropy import SeededEntropy
from federation.errors import ConfigError
from federation.task import SiteRequest
from federation.task_loading import load_task
from server.proposal import propose

SITES = ("cleveland", "hungary", "switzerland", "va_long_beach")
TASK = load_task("heart", {})


def agreement() -> Agreement:
    config = parse({"federation": {"sites": list(SITES)}})
    return propose(config, "run", dict.fromkeys(SITES, 80), "0" * 64)


def bench(agreed: Agreement) -> Workbench:
    data = TASK.load(SiteRequest("hungary", 1))
    return Workbench("hungary", agreed, TASK, data, SeededEntropy(1))


def test_the_digest_of_the_own_task_is_asked_for() -> None:
    agreed = agreement()
    own = run_tally_spec(TASK.schema, agreed).digest()
    require_same_spec(bench(agreed.model_copy(update={"spec_digest": own})))
    for other in ("", "0" * 64):
        with pytest.raises(ConfigError, match="spec_digest"):
            require_same_spec(bench(agreed.model_copy(update={"spec_digest": other})))


def test_what_is_counted_is_signed_with_all_the_rest() -> None:
    agreed = agreement()
    named = agreed.model_copy(update={"spec_digest": "1" * 64})
    assert Agreement.from_bytes(named.to_bytes()) == named
    assert named.digest() != agreed.digest()
    assert b"spec_digest" not in agreed.to_bytes()
