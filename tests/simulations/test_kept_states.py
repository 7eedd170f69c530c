"""States of sites without homes: a failed round takes nothing away."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.site_state import SiteState
from simulations.kept_states import KeptStates


def state(value: float) -> SiteState:
    return SiteState(np.full(3, value), np.full(2, -value))


def test_a_state_is_there_again_in_another_process_of_the_run(tmp_path) -> None:
    kept = KeptStates(tmp_path / "states", 4, 3, 2)
    kept.keep(2, 7, state(0.25), needed=0)
    again = KeptStates(tmp_path / "states", 4, 3, 2).state(2, 7)
    assert again is not None
    np.testing.assert_array_equal(again.control, state(0.25).control)
    np.testing.assert_array_equal(again.local, state(0.25).local)
    assert kept.state(1, 7) is None
    assert kept.latest(1) is None


@settings(max_examples=50)
@given(counts=st.lists(st.booleans(), min_size=1, max_size=30))
def test_what_the_model_holds_of_a_site_is_never_overwritten(tmp_path_factory, counts) -> None:
    kept = KeptStates(tmp_path_factory.mktemp("kept") / "states", 1, 3, 2)
    in_the_model = 0
    for number, counted in enumerate(counts, start=1):
        kept.keep(0, number, state(float(number)), in_the_model)
        if in_the_model:
            before = kept.state(0, in_the_model)
            assert before is not None
            assert before.control[0] == in_the_model
        latest = kept.latest(0)
        assert latest is not None
        assert latest.control[0] == number
        in_the_model = number if counted else in_the_model
