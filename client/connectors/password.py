"""A database's password, from where the site keeps it."""

import os
import stat
from pathlib import Path

from federation.data_choice import SqlQuery
from federation.errors import ConfigError


def read_password(choice: SqlQuery, home: Path) -> str | None:
    """The password; None if the policy names none.

    Args:
        choice: names a file or an environment variable.
        home: which the file is seen from.

    Raises:
        ConfigError: it is not there, empty, or open to others than its owner.
    """
    if choice.password_env is not None:
        found = os.environ.get(choice.password_env)
        if not found:
            raise ConfigError(
                "data.password_env", choice.password_env, "an environment variable that is set"
            )
        return found
    if choice.password_file is None:
        return None
    path = home / choice.password_file
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            "data.password_file", str(path), "a file of text that can be read"
        ) from None
    if mode & 0o077:
        raise ConfigError(
            "data.password_file", str(path), "a file for its owner alone", f"chmod 600 {path}"
        )
    if not text:
        raise ConfigError("data.password_file", str(path), "a file that holds a password")
    return text
