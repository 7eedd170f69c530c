"""Which nodes the SuperLink lets in: those that the release in force names, and no revoked one."""

from collections.abc import Iterator
from dataclasses import dataclass

from federation.errors import UsageError
from federation.membership import Membership
from federation.revocation import RevocationList
from server.flower_control import FlowerControl, FlowerNode, stored_key

UNREGISTERED = "unregistered"


@dataclass(frozen=True, slots=True)
class RegistryChange:
    """What was done, or could not be.

    Attributes:
        event: registered, unregistered or refused.
        site: whose node; empty for a key that no list names.
        reason: of a refusal.
    """

    event: str
    site: str
    node: int
    reason: str = ""


def settle_registry(
    control: FlowerControl, membership: Membership, revoked: RevocationList
) -> tuple[RegistryChange, ...]:
    """Bring the SuperLink's list in line with the federation's; returns what was done.

    A node that neither list names is left alone, because unregistering is for good: the status
    shows it as a stranger.

    Args:
        control: of the SuperLink.
        membership: in force.
        revoked: by the operator, perhaps since that release.
    """
    return tuple(_changes(control, membership, revoked))


def _changes(
    control: FlowerControl, membership: Membership, revoked: RevocationList
) -> Iterator[RegistryChange]:
    known = {node.public_key: node for node in control.nodes()}
    out = revoked.with_added(membership.release.revoked.revoked)
    for one in out.revoked:
        if one.kind != "node":
            continue
        node = known.get(stored_key(one.key))
        if node is not None and node.status != UNREGISTERED:
            control.unregister_node(node.id)
            yield RegistryChange("unregistered", one.site, node.id, one.reason)
    gone = out.keys("node")
    for site, line in sorted(membership.release.node_keys.items()):
        key = stored_key(line)
        if line in gone or (key in known and known[key].status != UNREGISTERED):
            continue
        try:
            yield RegistryChange("registered", site, control.register_node(key))
        except UsageError as error:
            yield RegistryChange("refused", site, 0, str(error))


def nodes_by_site(nodes: tuple[FlowerNode, ...], membership: Membership) -> dict[str, FlowerNode]:
    """The registered node of each site that has one."""
    by_key = {node.public_key: node for node in nodes if node.status != UNREGISTERED}
    named = {
        site: by_key.get(stored_key(line))
        for site, line in sorted(membership.release.node_keys.items())
    }
    return {site: node for site, node in named.items() if node is not None}


def strangers(nodes: tuple[FlowerNode, ...], membership: Membership) -> tuple[FlowerNode, ...]:
    """Nodes that may connect although the release in force does not name them."""
    named = {stored_key(line) for line in membership.release.node_keys.values()}
    return tuple(
        node for node in nodes if node.status != UNREGISTERED and node.public_key not in named
    )
