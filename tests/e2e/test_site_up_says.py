"""What `hedgerow site up` tells of a process that ends: why, in that process's own words."""

import pytest
from loopback_federation import LoopbackFederation

SITES = ("cleveland", "hungary", "va_long_beach")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_site_up_says_why_an_agent_does_not_start(tmp_path) -> None:
    federation = LoopbackFederation(tmp_path, SITES)
    federation.set_policy("hungary", minimum_quorum=4)
    try:
        up = federation.start("site", "up", federation.homes["hungary"], says="ended")
        assert "said hedgerow: minimum_quorum is 4 in site.toml and 3 in the ledger" in up.text
        assert "set it back, or have the ledger amended" in up.text
        federation.set_policy("hungary", minimum_quorum=3)
        up.wait_for("agent: ready")
    finally:
        federation.end()
    assert federation.left() == []
