"""A node's store on SQLite: `await SqliteStore.open(path, registry)`."""

from beira.store.sqlite.rewriting import alone, opens, rewrite
from beira.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore", "alone", "opens", "rewrite"]
