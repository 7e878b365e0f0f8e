"""What the kernel offers an app. Apps import this module, and nothing else of Beira."""

from beira.host import Host, News, Place
from beira.kernel.access import Kind, Principal, group_partition, node_partition, site_partition
from beira.kernel.app import App
from beira.kernel.collection import (
    BOTH,
    CRITICAL,
    DOWN,
    IMPORTANT,
    LOCAL,
    NODE,
    NORMAL,
    SITE,
    TENANT,
    UP,
    Collection,
    Lane,
    MergeOrder,
    Personal,
    collection,
    collection_of,
    timestamp,
)
from beira.kernel.command import Context, Receipt, Runs, command, command_of
from beira.kernel.errors import (
    BeiraError,
    Conflict,
    Corrupt,
    Denied,
    Full,
    Invalid,
    Misconfigured,
    NotFound,
    TooLarge,
    Unavailable,
)
from beira.kernel.query import Column, Compare, Every, Measure, Not, Op, Order, Query, Some, where
from beira.kernel.record import Fact, State
from beira.kernel.system import Alert, Setting, Site

__all__ = [
    "BOTH", "CRITICAL", "DOWN", "IMPORTANT", "LOCAL", "NODE", "NORMAL", "SITE", "TENANT", "UP",
    "Alert", "App", "BeiraError", "Collection", "Column", "Compare", "Conflict", "Context",
    "Corrupt", "Denied", "Every", "Fact", "Full", "Host", "Invalid", "Kind", "Lane", "Measure",
    "MergeOrder", "Misconfigured", "News", "Not", "NotFound", "Op", "Order", "Personal", "Place",
    "Principal", "Query", "Receipt", "Runs", "Setting", "Site", "Some", "State", "TooLarge",
    "Unavailable", "collection", "collection_of", "command", "command_of", "group_partition",
    "node_partition", "site_partition", "timestamp", "where",
]  # fmt: skip
