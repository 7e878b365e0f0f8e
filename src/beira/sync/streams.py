"""Which stream names what: a node's log by lane, the cloud's feeds by partition."""

from __future__ import annotations

from beira.kernel.collection import Lane, Registry
from beira.kernel.record import Row
from beira.store.port import Route

FLOOR_MARK = "floor:"
"""Before a partition's name: what the cloud has forgotten of its deletions, [number, stamp number]; on
a node that number, as it was when its feed began."""


def lane_stream(lane: Lane | int) -> str:
    return f"lane:{int(lane)}"


def feed_stream(partition: str) -> str:
    return f"feed:{partition}"


def log_route(registry: Registry) -> Route:
    """A node's route: local writes of what goes up are named in their lane's log."""

    def route(row: Row) -> str | None:
        return lane_stream(row.stamp.lane) if registry[row.collection].goes_up else None

    return route


def feed_route(registry: Registry) -> Route:
    """The cloud's route: what goes down is named in its partition's feed."""

    def route(row: Row) -> str | None:
        return feed_stream(row.partition) if registry[row.collection].goes_down else None

    return route
