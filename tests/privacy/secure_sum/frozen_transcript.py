"""Two whole sessions under fixed entropy, as digests of every message: the wire format, frozen.

After a deliberate change of the protocol, raise its version and write the file anew:

    PYTHONPATH=.:tests/privacy/secure_sum python tests/privacy/secure_sum/frozen_transcript.py
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from rehearsal import Rehearsal, Stage, make_terms, names

from federation.ring_vector import RING_BITS, Stretch

FILE = Path(__file__).parent / "frozen_transcript.json"


def transcript() -> dict[str, dict[str, str]]:
    """By round, what `digests` has: a session with a loss, and the next, with vouchers."""
    sites = names(7)
    stretches = tuple(Stretch(bits, 3) for bits in RING_BITS)
    terms = make_terms(7, quorum=5, stretches=stretches, groups=(sites[:3], sites[3:]))
    first = Rehearsal(terms, lost={sites[4]: Stage.MASK})
    earlier = digests(first)
    second = Rehearsal(replace(terms, round=2), seed=1, known=first.acquaintances)
    return {"1": earlier, "2": digests(second)}


def digests(rehearsal: Rehearsal) -> dict[str, str]:
    """SHA-256 of the terms, of each message of a session, and of the opened sum."""
    revealed = rehearsal.play()
    messages = {"terms": rehearsal.terms.to_bytes()}
    for stage in Stage:
        for name in rehearsal.terms.sites:
            for direction, by_site in (("to", rehearsal.told), ("from", rehearsal.sent)):
                if by_site[stage].get(name):
                    messages[f"{stage.name.lower()} {direction} {name}"] = by_site[stage][name]
    messages["sum"] = revealed.total.pack()
    found = {name: hashlib.sha256(data).hexdigest() for name, data in messages.items()}
    return {"session": rehearsal.sharing.session.hex()} | found


if __name__ == "__main__":
    FILE.write_text(json.dumps(transcript(), indent=1) + "\n")
