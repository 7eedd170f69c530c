"""A coordinator that forgot: its folder is put back from an old copy, and the run is resumed.

The sites remember what they said, and to which attempt; nothing is said twice in another context.
So a run that an old copy was made of ends there, with a clear error; nobody pays for it again.
"""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from federation_in_process import Federation, asked

from client.site_home import SiteHome
from federation.envelope import Phase
from federation.errors import HedgerowError
from privacy.ledger import verify

COORDINATORS = ("rounds.jsonl", "agreement.json", "witness.json", "checkpoints")
OUTPUTS = ("model.safetensors", "summary.json", "report.html")


def copy_of(federation: Federation, into: Path) -> Path:
    into.mkdir()
    for name in COORDINATORS:
        source = federation.folder.path / name
        if source.is_dir():
            shutil.copytree(source, into / name)
        elif source.exists():
            shutil.copy(source, into)
    return into


def restore(federation: Federation, old: Path) -> None:
    for name in (*COORDINATORS, *OUTPUTS):
        place = federation.folder.path / name
        if place.is_dir():
            shutil.rmtree(place)
        place.unlink(missing_ok=True)
    shutil.copytree(old, federation.folder.path, dirs_exist_ok=True)


def charges(federation: Federation) -> dict[str, list[tuple[str, object]]]:
    found = {}
    for home in sorted((federation.folder.path / "sites").iterdir()):
        key = SiteHome(home).read_identity().public_key()
        entries = verify(federation.folder.ledger(home.name), key)
        found[home.name] = [(one.kind, one.body.get("round")) for one in entries]
    return found


@pytest.mark.parametrize(
    ("copied", "died"),
    [
        ((1, Phase.OPEN), (3, Phase.SIGN)),
        ((2, Phase.SIGN), (3, Phase.OPEN)),
    ],
    ids=lambda moment: f"{moment[0]}-{moment[1]}",
)
def test_an_old_copy_is_refused_by_every_site_and_nobody_pays_again(tmp_path, copied, died) -> None:
    federation = Federation(tmp_path / "runs")
    federation.play_until_killed(asked(*copied))
    old = copy_of(federation, tmp_path / "old")
    federation.play_until_killed(asked(*died))
    before = charges(federation)
    restore(federation, old)
    for _ in range(3):  # trying again helps nobody
        outcome = federation.play()
        assert outcome.stopped is not None
        assert f"round {copied[0]} failed: advertise: 0 of 4 sites" in outcome.stopped.reason
        assert "already answered" in outcome.stopped.reason or "before" in outcome.stopped.reason
    assert charges(federation) == before


def test_of_a_run_that_is_over_an_old_copy_gets_nothing(tmp_path) -> None:
    federation = Federation(tmp_path / "runs")
    federation.play_until_killed(asked(1, Phase.OPEN))
    old = copy_of(federation, tmp_path / "old")
    federation.play()
    before = charges(federation)
    restore(federation, old)
    line = federation.transport()
    with suppress(HedgerowError):
        outcome = federation.play(line)
        assert outcome.stopped is not None
    answered = [
        reply
        for _, request, reply in line.wire
        if request.phase in (Phase.TRAIN, Phase.OPEN) and request.round <= 3 and reply
    ]
    assert not any(b'"status":"ok"' in reply[:2000] for reply in answered)
    assert charges(federation) == before
