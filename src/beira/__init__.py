"""Beira: offline-first software for the edge. Apps import `beira.sdk`, and nothing else."""

__version__ = "0.1.0"
