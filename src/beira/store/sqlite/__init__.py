"""A node's store on SQLite: `await SqliteStore.open(path, registry)`."""

from beira.store.sqlite.rewriting import alone, opens, rewrite
from beira.store.sqlite.salvage import Salvaged, replace, salvage, written_by
from beira.store.sqlite.store import SqliteStore

__all__ = [
    "Salvaged",
    "SqliteStore",
    "alone",
    "opens",
    "replace",
    "rewrite",
    "salvage",
    "written_by",
]
