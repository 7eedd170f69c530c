"""The courier carries whatever a coordinator may ask."""

from flwr.common.constant import ErrorCode

from client.courier import QUERIES
from client.relay import NODE_EXCEPTION
from federation.envelope import Phase


def test_there_is_a_way_for_every_phase() -> None:
    assert {"train", *QUERIES} == {phase.value for phase in Phase}


def test_what_cannot_be_answered_is_an_error_under_flowers_own_code() -> None:
    assert NODE_EXCEPTION == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
