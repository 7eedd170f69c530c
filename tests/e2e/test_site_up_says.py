"""What `hedgerow site up` tells of a process that ends: why, in that process's own words."""

import pytest
from loopback_federation import LoopbackFederation

from client.site_home import SiteHome
from federation.site_policy import SitePolicy

SITES = ("cleveland", "hungary", "va_long_beach")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_site_up_says_why_an_agent_does_not_start(tmp_path) -> None:
    federation = LoopbackFederation(tmp_path, SITES)
    held = SitePolicy.read(SiteHome(federation.homes["hungary"]).policy).minimum_quorum
    federation.set_policy("hungary", minimum_quorum=held + 1)
    try:
        up = federation.start("site", "up", federation.homes["hungary"], says="ended")
        says = f"said minimum_quorum is {held + 1} in site.toml and {held} in the ledger"
        assert says in up.text
        assert "set it back, or have the ledger amended" in up.text
        federation.set_policy("hungary", minimum_quorum=held)
        up.wait_for("agent: ready")
    finally:
        federation.end()
    assert federation.left() == []
