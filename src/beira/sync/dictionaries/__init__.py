"""Dictionaries for small messages: the one that comes with Beira, and those trained for a site."""
