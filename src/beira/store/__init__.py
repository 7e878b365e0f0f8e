"""Where rows live: one port (`port.Store`), and what implements it: SQLite, PostgreSQL, memory."""
