"""A change of the wire format, of a derivation or of an order is noticed, and by which message."""

import json

from frozen_transcript import FILE, transcript


def test_every_message_of_two_fixed_sessions_is_what_it_was() -> None:
    assert transcript() == json.loads(FILE.read_text())


def test_the_transcript_holds_every_kind_of_message() -> None:
    for session in json.loads(FILE.read_text()).values():
        stages = {name.split(" ")[0] for name in session}
        assert stages == {"session", "terms", "advertise", "share", "mask", "sign", "open", "sum"}
