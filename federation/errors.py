"""Every error a user can meet, as one tree; each class carries the exit code of the command.

HedgerowError                 1
├── UsageError                2   the command line or a configuration file is wrong
│   └── ConfigError           2   names the key, the value, what was expected, how to mend it
├── DataError                 3   a table, a file or a task does not hold what it promised
├── PrivacyRefusal            4   a guarantee cannot be met, so the work is refused
│   └── BudgetExhausted       4   the site's epsilon would be overspent
├── RoundFailed               5   too few sites were left; nothing was revealed
│   └── ProtocolViolation     5   a check of the secure sum failed; the session is over for good
├── IntegrityError            6   a ledger, checkpoint or signature is not what was written
├── StorageError              6   the disk refuses: it is full, read-only or not ours to write
└── Interrupted             130   Ctrl-C; what is recorded stays, and the run can be resumed
"""


class HedgerowError(Exception):
    """Base of all errors whose text is meant for the person who typed the command."""

    exit_code = 1


class UsageError(HedgerowError):
    """The command line or a file the user wrote is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """One wrong setting: `key = value: expected ... (remedy)`."""

    def __init__(self, key: str, value: object, expected: str, remedy: str = "") -> None:
        self.key, self.value, self.expected, self.remedy = key, value, expected, remedy
        hint = f" ({remedy})" if remedy else ""
        super().__init__(f"{key} = {value!r}: expected {expected}{hint}")


class DataError(HedgerowError):
    """A data file or a task does not hold what it promised."""

    exit_code = 3


class PrivacyRefusal(HedgerowError):
    """A privacy guarantee cannot be met; the work is refused rather than weakened."""

    exit_code = 4


class BudgetExhausted(PrivacyRefusal):
    """Admitting the event would overspend the site's epsilon at its delta."""


class RoundFailed(HedgerowError):
    """A round could not be completed; nothing about any site was revealed by it."""

    exit_code = 5


class ProtocolViolation(RoundFailed):
    """A check of the secure sum failed; the text names the check."""


class IntegrityError(HedgerowError):
    """Something durable is not what was written: a ledger entry, a checkpoint, a signature."""

    exit_code = 6


class StorageError(HedgerowError):
    """Something could not be written; what was written before is whole."""

    exit_code = 6


class Interrupted(HedgerowError):
    """The user stopped the command; the text says how to go on."""

    exit_code = 130
