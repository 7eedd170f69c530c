"""`run-rules.toml`: the run rules as people write them, before the consortium signs them."""

from pathlib import Path

from federation import settings_file
from federation.durable_file import write_atomically
from federation.errors import ConfigError
from federation.run_rules import RunRules

_GIVEN = {"federation": "the coordinator's settings name it", "version": "signing counts it"}
_TEMPLATE = """\
# What every run of this federation must keep to: `hedgerow coordinator roster sign` signs it with
# the consortium's key, sites install it with the roster, and no site agrees to a run that it does
# not allow. A site's own policy may be stricter, never looser.

# Fewest sites whose sum may be opened, that together can open anything, and in a cohort whose sum
# is read apart. With two sites each could work out the other's part, so three is the least.
minimum_quorum = 3
minimum_threshold = 2
minimum_contributors = 3

# Largest L2 norm that a site's update may be clipped to. Together with the noise it bounds what one
# site can do to the model. 20 is what federation.toml uses if it says nothing; lower it to what
# your task needs.
largest_update_clip = 20.0

# Bits of the rings that updates may be summed in: all that there are.
ring_bits = [16, 20, 24, 32]

# Noise. What is spent is bounded by each site's own budget, in its ledger; a noise multiplier alone
# says little without rounds and sampling rate. So none is demanded here beside the budgets: raise
# these to have a floor. For the second one, 0 allows runs that do not hide whole sites.
least_noise_multiplier = 0.0
least_site_level_noise_multiplier = 0.0

# Runs without record-level differential privacy: never, unless you change this.
allow_without_privacy = false

# Most training rounds that one run may have.
most_rounds = 1000
"""


def write_draft(path: Path) -> None:
    """Write rules that are careful, with the reasons beside them."""
    write_atomically(path, _TEMPLATE.encode())


def read_draft(path: Path, federation: str, before: RunRules | None) -> RunRules:
    """The rules in a file, with the number of those before if they say the same, else the next.

    Args:
        path: of the file.
        federation: that they are for.
        before: what was signed last, if anything was.

    Raises:
        UsageError: the file cannot be read or is no TOML.
        ConfigError: a key or value is wrong.
    """
    table = settings_file.read_table(path, "the run rules")
    for key in _GIVEN.keys() & table.keys():
        raise ConfigError(f"{path}: {key}", table[key], f"no such key: {_GIVEN[key]}")
    same = before.version if before else 1
    rules = settings_file.validated_of(
        path, RunRules, {**table, "federation": federation, "version": same}
    )
    if before is None or rules == before:
        return rules
    return rules.model_copy(update={"version": same + 1})
