"""The configuration that a run was prepared with, for whatever goes on from it."""

from federation import canonical, config_file
from federation.config import FederationConfig
from federation.errors import IntegrityError
from federation.run_folder import RunFolder


def unchanged_config(run: RunFolder) -> FederationConfig:
    """What the run folder holds.

    Raises:
        IntegrityError: it was changed since the run began.
    """
    config = config_file.read(run.config)
    recorded = run.read_environment().config_digest
    if canonical.digest(config.model_dump(mode="json")) != recorded:
        raise IntegrityError(f"{run.config} was changed since the run began; put it back")
    return config
