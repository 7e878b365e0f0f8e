"""Who of the nodes hears of what: news of a partition goes to those that follow it, and to nobody else.

A tenant may have thousands of nodes at one replica. Each hearing all of the tenant's news would make
every commit cost as much as there are nodes; one subscription a tenant, looked up by partition, does not.
What only goes up is in no feed: nobody hears of it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from beira.store.port import News, Store

Heard = Callable[[frozenset[str] | None], None]
"""Told which partitions have changed; None: any may have."""


class Hearing:
    """One tenant's. It listens to the store while anybody listens to it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._by_partition: dict[str, dict[object, Heard]] = {}
        self._all: dict[object, Heard] = {}
        self._end: Callable[[], None] | None = None

    def listen(self, partitions: Iterable[str], heard: Heard) -> Callable[[], None]:
        """Call `heard` at news of one of `partitions`, until the returned function is called."""
        if self._end is None:
            self._end = self.store.subscribe(self._told)
        key, followed = object(), tuple(partitions)
        self._all[key] = heard
        for partition in followed:
            self._by_partition.setdefault(partition, {})[key] = heard

        def end() -> None:
            if self._all.pop(key, None) is None:
                return
            for partition in followed:
                held = self._by_partition[partition]
                del held[key]
                if not held:
                    del self._by_partition[partition]
            if not self._all and self._end is not None:
                self._end()
                self._end = None

        return end

    def _told(self, news: News) -> None:
        if not news.rows:
            for heard in list(self._all.values()):
                heard(None)
            return
        registry = self.store.registry
        kinds = {(collection, partition) for collection, _, partition in news.rows}
        for partition in {
            partition
            for collection, partition in kinds
            if collection not in registry or registry[collection].goes_down
        }:
            changed = frozenset((partition,))
            for heard in list(self._by_partition.get(partition, {}).values()):
                heard(changed)
