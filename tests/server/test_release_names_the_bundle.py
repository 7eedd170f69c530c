"""The release in force names the app bundle that runs ship and the roster that they go on under."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sample_federation_home import enrolled_home, sign_anew

from federation.errors import UsageError
from federation.run_folder import RunFolder
from server.app_bundle import build
from server.enrolment import revoke
from server.run_preparation import environment, require_bundle, require_same_release


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


def test_a_run_is_not_resumed_under_another_roster(tmp_path) -> None:
    home, bundle = enrolled_home(tmp_path / "fed", "aachen", "bonn").home, build()
    bundle.write(home.bundle(bundle.version))
    membership = sign_anew(home)
    folder = RunFolder.create(home.runs, "run", datetime.now(UTC))
    folder.write_environment(environment(7, "0" * 64, membership.roster.digest(), None))
    require_same_release(home, folder, bundle, "start a new run")
    revoke(home, "bonn", datetime.now(UTC))
    sign_anew(home)
    with pytest.raises(UsageError, match=r"another roster than the one in force.*start a new run"):
        require_same_release(home, folder, bundle, "start a new run")
