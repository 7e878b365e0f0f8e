"""What members may do, as records: so that nodes hear of a right that was given, changed or withdrawn.

Identity's tables say who may do what; these records are made to follow them, as sites and nodes are.
"""

from __future__ import annotations

from datetime import UTC, datetime

from beira.cloud.places import Wanted, follow
from beira.host.host import Host
from beira.identity import Identity
from beira.identity.tenants import service
from beira.kernel.system import MemberRights


async def follow_rights(host: Host, identity: Identity) -> None:
    """Make the records of members' rights equal to identity's."""
    wanted: Wanted = {
        member.account: {
            "role": member.role,
            "sites": None if member.sites is None else list(member.sites),
            "since": datetime.fromtimestamp(int(member.shut_at), UTC) if member.shut_at else None,
        }
        for member in await identity.tenants.members(service(host.place.tenant))
    }
    await follow(host, MemberRights, wanted)
