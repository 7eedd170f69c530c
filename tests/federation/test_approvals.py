import os

import pytest

from federation.approvals import (
    LARGEST_BYTES,
    Approvals,
    BundleApproval,
    TaskApproval,
    change_approvals,
)
from federation.errors import IntegrityError, StorageError, UsageError
from federation.file_lock import hold

A, B = "a" * 64, "b" * 64
EARLIER = BundleApproval(version="0.1.0", approved="2026-03-01T00:00:00+00:00", note="by DPO")
LATER = BundleApproval(version="0.2.0", approved="2026-04-01T00:00:00+00:00")
TASK = TaskApproval(sha256=B, approved="2026-03-01T00:00:00+00:00")


def test_nothing_is_approved_where_there_is_no_file(tmp_path):
    approvals = Approvals.read(tmp_path / "approvals.json")
    assert not approvals.is_approved(A)
    assert approvals.latest_bundle is None


def test_what_is_written_is_read_and_its_owners_alone(tmp_path):
    path = tmp_path / "approvals.json"
    written = change_approvals(
        path, lambda old: old.with_bundle(A, EARLIER).with_bundle(B, LATER).with_task("heart", TASK)
    )
    assert Approvals.read(path) == written
    assert path.stat().st_mode & 0o777 == 0o600
    assert written.latest_bundle == B
    assert written.is_approved(A)
    assert written.is_task_approved("heart", B)
    assert not written.is_task_approved("heart", A)
    assert not written.is_task_approved("digits", B)


def test_what_is_withdrawn_is_not_approved(tmp_path):
    path = tmp_path / "approvals.json"
    change_approvals(path, lambda old: old.with_bundle(A, EARLIER).with_task("heart", TASK))
    left = change_approvals(path, lambda old: old.without_bundle(A).without_task("heart"))
    assert (left.bundles, left.tasks) == ({}, {})
    for withdraw in (lambda old: old.without_bundle(A), lambda old: old.without_task("heart")):
        with pytest.raises(UsageError, match="not approved"):
            change_approvals(path, withdraw)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"schema":"hedgerow/approvals/v1","bundles":{"a":{}}}',
        b'{"schema":"hedgerow/approvals/v2"}',
        b'{"schema":"hedgerow/approvals/v1","extra":1}',
        b" " * (LARGEST_BYTES + 1),
    ],
)
def test_a_file_that_holds_something_else_approves_nothing(tmp_path, data):
    (tmp_path / "approvals.json").write_bytes(data)
    with pytest.raises(IntegrityError, match=r"approvals\.json"):
        Approvals.read(tmp_path / "approvals.json")


def test_a_file_that_cannot_be_read_is_not_an_empty_one(tmp_path):
    (tmp_path / "approvals.json").mkdir()
    with pytest.raises(UsageError, match="cannot read"):
        Approvals.read(tmp_path / "approvals.json")


def test_two_commands_do_not_lose_each_others_approvals(tmp_path, monkeypatch):
    monkeypatch.setattr("federation.approvals.PATIENCE_SECONDS", 0.0)
    lock = hold(tmp_path / ".approvals.json.lock")
    with pytest.raises(StorageError, match="another command"):
        change_approvals(tmp_path / "approvals.json", lambda old: old)
    os.close(lock)
    change_approvals(tmp_path / "approvals.json", lambda old: old)
