"""The courier carries whatever a coordinator may ask."""

from client.courier import QUERIES
from federation.envelope import Phase


def test_there_is_a_way_for_every_phase() -> None:
    assert {"train", *QUERIES} == {phase.value for phase in Phase}
