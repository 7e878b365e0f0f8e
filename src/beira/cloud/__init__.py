"""The service: it collects what nodes did, tells them what has changed, and shows people the whole.

A replica keeps nothing of its own: any number may run over one database.
"""
