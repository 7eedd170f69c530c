"""A site's folder: made with fresh keys, a policy and a ledger; and what it asks to be enrolled by.

Private keys are made here and stay here: nothing in this module gives one out.
"""

import shutil
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.home_opening import create_ledger
from client.policy_text import FirstPolicy
from client.site_home import SiteHome, identity_pem
from federation import node_key, site_request
from federation.bounded_file import read_bounded
from federation.durable_file import sync_folder, write_atomically
from federation.errors import ConfigError, IntegrityError, UsageError
from federation.membership import read_membership
from federation.settings_file import validated
from federation.site_policy import SitePolicy
from federation.site_request import (
    RequestedSite,
    SiteEnrolment,
    SiteKeys,
    make_exchange,
    make_request,
)
from federation.software import Software


def set_up(
    home: SiteHome, policy: FirstPolicy, federation: str, software: Software, created: str
) -> SiteEnrolment:
    """Make the folder as a whole, or not at all; returns the request to be enrolled.

    Args:
        home: must not exist, or be empty.
        policy: the site's first one.
        federation: name of the one to join.
        software: of this machine.
        created: UTC now, ISO 8601.

    Raises:
        UsageError: there is something at the path.
        ConfigError: a value of the policy is wrong.
    """
    if home.path.exists() and (not home.path.is_dir() or any(home.path.iterdir())):
        raise UsageError(
            f"{home.path} exists and is not empty; a site is set up once, and its keys and its "
            "ledger are never started over"
        )
    home.path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=home.path.parent, prefix=f".{home.path.name}."))
    try:
        request = _fill(SiteHome(aside), policy, federation, software, created)
        aside.replace(home.path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(home.path.parent)
    return request


def renew_request(home: SiteHome, software: Software, created: str) -> SiteEnrolment:
    """The request anew, with the same keys, for a site that was not enrolled in time.

    Raises:
        UsageError: the site is in a roster, or the folder lacks something.
    """
    if read_membership(home.given) is not None:
        raise UsageError(f"{home.path} has joined already; hedgerow site join takes new packages")
    policy = SitePolicy.read(home.policy)
    old = read_own_request(home, policy.site)
    request = make_request(_wanted(policy, old.federation), read_keys(home), software, created)
    write_atomically(home.request(policy.site), request.to_bytes())
    return request


def rotate_keys(
    home: SiteHome,
    software: Software,
    created: str,
    *,
    node_key_lost: bool = False,
    with_identity: bool = False,
) -> SiteEnrolment:
    """Make a new node key, and the request that it be exchanged, signed by the keys in force.

    The present keys stay in force until a package arrives that names the new ones.

    Args:
        home: of the site.
        software: of this machine.
        created: UTC now, ISO 8601.
        node_key_lost: whether the present node key is gone and cannot sign.
        with_identity: whether to make a new identity key, too.

    Raises:
        UsageError: an exchange is asked for already, or the folder lacks something.
        IntegrityError: a key is damaged.
    """
    policy = SitePolicy.read(home.policy)
    if read_membership(home.given) is None:
        raise UsageError(
            f"{home.path} has joined no federation yet: its keys are known to nobody and need no "
            "exchange"
        )
    in_force = read_own_request(home, policy.site)
    if home.exchange(policy.site).exists():
        raise UsageError(
            f"{home.exchange(policy.site)} asks for an exchange already: send it to the "
            "coordinator, then hedgerow site join HOME PACKAGE; delete it to begin again, if it "
            "was never sent"
        )
    identity = home.read_identity()
    old = (identity, None) if node_key_lost else read_keys(home)
    new = node_key.generate_node_key()
    if with_identity:
        identity = Ed25519PrivateKey.generate()
        write_atomically(home.next_identity, identity_pem(identity), mode=0o600)
    request = make_exchange(
        _wanted(policy, in_force.federation),
        SiteKeys(identity, new),
        software,
        created,
        in_force,
        old,
    )
    write_atomically(home.next_node_key, node_key.private_bytes(new), mode=0o600)
    write_atomically(home.exchange(policy.site), request.to_bytes())
    return request


def read_keys(home: SiteHome) -> SiteKeys:
    """Both keys in force.

    Raises:
        UsageError: one is not there.
        IntegrityError: a file holds something else.
    """
    data = read_bounded(home.node_key, 16_384, "the node key")
    try:
        return SiteKeys(home.read_identity(), node_key.read_private(data))
    except IntegrityError as error:
        if str(home.identity) in str(error):
            raise
        raise IntegrityError(f"{home.node_key} holds {error}") from error


def read_own_request(home: SiteHome, site: str) -> SiteEnrolment:
    """The request that the site was set up with.

    Raises:
        UsageError: it is not there.
        IntegrityError: it was altered.
    """
    path = home.request(site)
    data = read_bounded(path, site_request.LARGEST_BYTES, "the site's own request")
    try:
        return SiteEnrolment.from_bytes(data)
    except IntegrityError as error:
        raise IntegrityError(f"{path}: {error}") from error


def _fill(
    home: SiteHome, policy: FirstPolicy, federation: str, software: Software, created: str
) -> SiteEnrolment:
    write_atomically(home.policy, policy.text().encode(), mode=0o600)
    try:
        read = SitePolicy.read(home.policy)
    except ConfigError as error:  # of a file that is gone in a moment: name the value alone
        key = error.key.removeprefix(f"{home.policy}: ")
        raise ConfigError(key, error.value, error.expected, error.remedy) from error
    wanted = _wanted(read, federation)
    home.create_identity()
    node = node_key.generate_node_key()
    write_atomically(home.node_key, node_key.private_bytes(node), mode=0o600)
    write_atomically(home.node_key_public, f"{node_key.public_line(node)}\n".encode())
    create_ledger(home, home.ledger)
    for folder in (home.bundles, home.log("any").parent):
        folder.mkdir(mode=0o700)
    keys = SiteKeys(home.read_identity(), node)
    request = make_request(wanted, keys, software, created)
    write_atomically(home.request(read.site), request.to_bytes())
    return request


def _wanted(policy: SitePolicy, federation: str) -> RequestedSite:
    return validated(
        RequestedSite,
        {
            "site": policy.site,
            "federation": federation,
            "public_rows": policy.public_rows,
            "delta": policy.delta,
        },
    )
