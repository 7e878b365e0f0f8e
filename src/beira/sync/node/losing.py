"""What a node does when the cloud's rows meet values of its own that were never sent: neither writer knew
of the other, and only here can that be seen. The loss is told in the transaction that merged them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from beira.host.host import SEEN_MARK, Host
from beira.kernel.batch import newest_hlc
from beira.kernel.clock import Stamp
from beira.kernel.collection import Lane, Travel, collection_of
from beira.kernel.contest import Contest
from beira.kernel.record import Row, Value
from beira.kernel.system import Loss
from beira.store.port import Commit, NodeStore
from beira.sync.set_aside import loss
from beira.sync.streams import lane_stream

LANE = Lane.NORMAL


async def merge(
    host: Host, store: NodeStore, rows: Sequence[Row], marks: Mapping[str, Value] | None = None
) -> Commit:
    """Merge what came from the cloud. How late it is stays known when the program starts again: what is
    written over it then must come after it."""
    host.clock.saw(newest_hlc(rows))
    me, name = host.place.node, collection_of(Loss).name
    stamp = Stamp(host.clock.tick(host.wall.now_ms()), int(LANE), me)

    def dropped(contests: Sequence[Contest]) -> list[Row]:
        mine = [one for one in contests if one.unsent and one.mine_stamp.node == me]
        return [loss(contest, stamp) for contest in mine if _leaves(host, contest)]

    def route(row: Row) -> str | None:
        return lane_stream(LANE) if row.collection == name else None

    seen = {SEEN_MARK: host.clock.seen}
    return await store.commit(rows, route=route, marks={**seen, **(marks or {})}, dropped=dropped)


def _leaves(host: Host, contest: Contest) -> bool:
    """Whether the field is one that leaves the node as it is."""
    declared = host.store.registry[contest.collection].fields.get(contest.field)
    return declared is None or declared.travel is Travel.AS_IT_IS
