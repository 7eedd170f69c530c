"""One whole session under fixed entropy, as digests of every message: the wire format, frozen.

After a deliberate change of the protocol, raise its version and write the file anew:

    PYTHONPATH=. python tests/privacy/secure_sum/frozen_transcript.py
"""

import hashlib
import json
from pathlib import Path

from rehearsal import Rehearsal, Stage, make_terms, names

from federation.ring_vector import RING_BITS, Stretch

FILE = Path(__file__).parent / "frozen_transcript.json"


def transcript() -> dict[str, str]:
    """SHA-256 of the terms, of each message of a session with a loss, and of the opened sum."""
    sites = names(7)
    stretches = tuple(Stretch(bits, 3) for bits in RING_BITS)
    terms = make_terms(7, quorum=5, stretches=stretches, groups=(sites[:3], sites[3:]))
    rehearsal = Rehearsal(terms, lost={sites[4]: Stage.MASK})
    revealed = rehearsal.play()
    messages = {"terms": terms.to_bytes()}
    for stage in Stage:
        for name in sites:
            for direction, by_site in (("to", rehearsal.told), ("from", rehearsal.sent)):
                if by_site[stage].get(name):
                    messages[f"{stage.name.lower()} {direction} {name}"] = by_site[stage][name]
    messages["sum"] = revealed.total.pack()
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in messages.items()}
    return {"session": rehearsal.sharing.session.hex()} | digests


if __name__ == "__main__":
    FILE.write_text(json.dumps(transcript(), indent=1) + "\n")
