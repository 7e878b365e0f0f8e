"""The sync benchmark: Beira's own sync beside PouchDB, Turso and a bare loop, the same work for each."""
