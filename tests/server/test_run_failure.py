"""What the ServerApp says at its end reaches the command with its exit code."""

import errno
from pathlib import Path

import pytest

from federation.errors import ConfigError, HedgerowError, IntegrityError, PrivacyRefusal
from server.run_failure import failure_told, read_failure


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PrivacyRefusal("the budget is spent"), 4),
        (ConfigError("run.rounds", 0, "a number > 0"), 2),
        (OSError(errno.ENOSPC, "No space left on device"), 6),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_an_error_comes_back_with_its_text_and_exit_code(
    tmp_path: Path, error: Exception, code: int
) -> None:
    path = tmp_path / "failure.json"
    with pytest.raises(type(error)), failure_told(path):
        raise error
    told = read_failure(path)
    assert isinstance(told, HedgerowError)
    assert told.exit_code == code
    assert (error.strerror if isinstance(error, OSError) else str(error)) in str(told)


def test_a_new_start_forgets_the_failure_before(tmp_path: Path) -> None:
    path = tmp_path / "failure.json"
    path.write_text('{"text": "old", "exit_code": 3}')
    with failure_told(path):
        assert read_failure(path) is None
    assert read_failure(path) is None


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"text": 1}', '{"exit_code": "x", "text": ""}']
)
def test_a_torn_file_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "failure.json"
    path.write_text(content)
    with pytest.raises(IntegrityError, match=r"failure\.json"):
        read_failure(path)
