"""The release in force names the app bundle that runs ship, and no other is shipped."""

from dataclasses import replace

import pytest
from sample_federation_home import enrolled_home, sign_anew

from federation.errors import UsageError
from server.app_bundle import build
from server.run_preparation import require_bundle


def test_another_release_than_the_one_installed_starts_no_run(tmp_path) -> None:
    home, bundle = enrolled_home(tmp_path / "fed", "aachen").home, build()
    bundle.write(home.bundle(bundle.version))
    membership = sign_anew(home)
    require_bundle(membership, bundle)
    newer = replace(bundle, version="9.9.9", content=bundle.content + b"\0")
    with pytest.raises(UsageError, match="names another app bundle") as refused:
        require_bundle(membership, newer)
    for told in (bundle.sha256[:16], newer.sha256[:16], "9.9.9", "install hedgerow"):
        assert told in str(refused.value)
