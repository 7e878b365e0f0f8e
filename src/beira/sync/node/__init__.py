"""A node's half of sync: what it sends and merges, and how it heals."""
