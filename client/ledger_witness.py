"""A site as witness of other sites' ledgers, and as the one whose ledger others witnessed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from client.consent import Refusal
from client.journal import Journal
from federation.errors import ProtocolViolation
from federation.ledger_head import (
    HeadStatement,
    LedgerHead,
    dataset_digest,
    sign_head,
    verify_head,
)
from federation.round_messages import Heads, Setback, Witnessed
from privacy.ledger import Ledger

BEHIND_WITNESS = "ledger_behind_witness"
"""The refusal code of a site whose ledger is not what others saw."""


@dataclass
class LedgerWitness:
    """What one site states about ledgers, and what it believes of others' statements.

    Attributes:
        federation: that the statements are for.
        site: who signs.
        identity: the key that signs.
        keys: of all sites in the roster.
        ledger: the site's own.
        journal: where it remembers the others'.
    """

    federation: str
    site: str
    identity: Ed25519PrivateKey = field(repr=False)
    keys: Mapping[str, Ed25519PublicKey] = field(repr=False)
    ledger: Ledger = field(repr=False)
    journal: Journal = field(repr=False)
    _behind: str | None = None

    def own_head(self, run: str) -> HeadStatement:
        """How far this site's ledger has come."""
        seq, digest = self.ledger.head()
        head = LedgerHead(run=run, site=self.site, dataset=self._dataset, seq=seq, hash=digest)
        return self._signed(head)

    def remembered(self, run: str) -> tuple[HeadStatement, ...]:
        """The furthest that this site has seen of every other's ledgers."""
        return tuple(
            self._signed(LedgerHead(run=run, site=site, dataset=dataset, seq=seq, hash=digest))
            for site, dataset, seq, digest in self.journal.witnessed_heads()
        )

    def answer(self, run: str, heads: Heads) -> Witnessed:
        """Compare and remember what others claim; check what they saw of this site's ledger.

        Raises:
            Refusal: this site's ledger is not what they saw.
            ProtocolViolation: a statement is forged, of another run, or about somebody else.
        """
        for statement in heads.about_you:
            self._check(run, statement)
            if statement.signer == self.site or statement.head.site != self.site:
                raise ProtocolViolation("ledger head: not another site's statement about this one")
            self._require_held(statement)
        for statement in heads.claims:
            self._check(run, statement)
            if statement.signer != statement.head.site:
                raise ProtocolViolation("ledger head: not its owner's claim")
        if len({statement.signer for statement in heads.claims}) < len(heads.claims):
            raise ProtocolViolation("ledger head: two claims of one site")
        compared = [self._compared(one.head) for one in heads.claims if one.signer != self.site]
        return Witnessed(
            statements=tuple(one for one in compared if isinstance(one, HeadStatement)),
            setbacks=tuple(one for one in compared if isinstance(one, Setback)),
        )

    def require_not_behind(self) -> None:
        """Return if nobody has shown that this site's ledger lacks something.

        Raises:
            Refusal: somebody has; until the ledger is restored and the agent started anew.
        """
        if self._behind is not None:
            raise Refusal(BEHIND_WITNESS, self._behind)

    def _check(self, run: str, statement: HeadStatement) -> None:
        verify_head(statement, self.federation, self.keys)
        if statement.head.run != run:
            raise ProtocolViolation("ledger head: shown in another run")

    def _require_held(self, statement: HeadStatement) -> None:
        head = statement.head
        if head.dataset != self._dataset:
            return
        entries = self.ledger.entries()
        if head.seq > len(entries) or entries[head.seq - 1].hash != head.hash:
            self._behind = (
                f"this site's ledger ends at entry {len(entries)}, and {statement.signer} saw "
                f"entry {head.seq} ({head.hash[:16]}...), which it does not hold: it was cut, "
                "rolled back or exchanged; restore it before anything is charged"
            )
            raise Refusal(BEHIND_WITNESS, self._behind)

    def _compared(self, head: LedgerHead) -> HeadStatement | Setback:
        seen = self.journal.witnessed_head(head.site, head.dataset)
        if seen is not None and (
            head.seq < seen[0] or (head.seq == seen[0] and head.hash != seen[1])
        ):
            return Setback(site=head.site, shown=head.seq, remembered=seen[0])
        self.journal.witness_head(head.site, head.dataset, head.seq, head.hash)
        return self._signed(head)

    def _signed(self, head: LedgerHead) -> HeadStatement:
        return sign_head(head, self.federation, self.site, self.identity)

    @property
    def _dataset(self) -> str:
        return dataset_digest(self.federation, self.site, self.ledger.account().holder[1])
