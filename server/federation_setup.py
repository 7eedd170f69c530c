"""A federation's folder, made as a whole or not at all."""

import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from federation.bounded_file import read_bounded
from federation.consortium import Consortium, ConsortiumKey
from federation.durable_file import sync_folder, write_atomically
from federation.entropy import SystemEntropy
from federation.errors import IntegrityError, UsageError
from server.coordinator_certificates import create_for_existing, create_own
from server.coordinator_config import CoordinatorConfig
from server.federation_home import FederationHome
from server.roster_signing import write_consortium_key
from server.rules_draft import write_draft


def set_up(
    home: FederationHome,
    config: CoordinatorConfig,
    now: datetime,
    *,
    existing_ca: Path | None,
    consortium: Path | None,
) -> None:
    """Make the folder with certificates, drafted run rules and the consortium's key.

    Args:
        home: must not exist, or be empty.
        config: its settings.
        now: UTC.
        existing_ca: CA file, PEM, of a CA that there is already; None to make one.
        consortium: public key, PEM, of a consortium that keeps its key elsewhere; None to make one.

    Raises:
        UsageError: there is something at the path, or a file cannot be read.
        IntegrityError: a file holds no CA, or no consortium's key.
    """
    if home.path.exists() and (not home.path.is_dir() or any(home.path.iterdir())):
        raise UsageError(f"{home.path} exists and is not empty; a federation gets a new folder")
    home.path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=home.path.parent, prefix=f".{home.path.name}."))
    try:
        made = FederationHome(aside)
        made.create(config)
        write_draft(made.rules_draft)
        _pin_consortium(made, consortium)
        if existing_ca is None:
            create_own(made, now)
        else:
            create_for_existing(made, existing_ca, now)
        aside.replace(home.path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(home.path.parent)


def _pin_consortium(home: FederationHome, public: Path | None) -> None:
    if public is None:
        key = ConsortiumKey.generate(SystemEntropy())
        write_consortium_key(home.consortium_key, key)
        pinned = key.public
    else:
        try:
            pinned = Consortium.from_pem(read_bounded(public, 4096, "the consortium's key"))
        except IntegrityError as error:
            raise IntegrityError(f"{public}: {error}") from error
    write_atomically(home.given.consortium, pinned.to_pem())
