"""What the site refused, in its audit log: once for each run, phase and code, and not for ever."""

from federation.audit_log import AuditLog

MOST_NOTED = 1000
"""Refusals that one process of the agent notes: whoever keeps asking fills no disk."""


class RefusalLog:
    """Notes refusals; the call is what `SiteAssets.note_refusal` takes."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._noted: set[tuple[str, str, str]] = set()

    def __call__(self, run: str, phase: str, code: str) -> None:
        """Note one, unless it was noted before.

        Raises:
            IntegrityError, StorageError: as `AuditLog.append`.
        """
        refused = run, phase, code
        if refused in self._noted or len(self._noted) >= MOST_NOTED:
            return
        self._audit.append("refused", run=run, phase=phase, code=code)
        self._noted.add(refused)
