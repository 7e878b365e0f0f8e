"""Modules that are loaded when they are first used: a node is to be heard before it needs a network.

if TYPE_CHECKING:
    import aiohttp
else:
    aiohttp = loaded_later("aiohttp")
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    def __getattr__(self, name: str) -> Any:
        found = getattr(importlib.import_module(self.__name__), name)
        setattr(self, name, found)
        return found


def loaded_later(name: str) -> ModuleType:
    """A module that stands for the one of this name. Raises what its import does, at its first use."""
    return _Later(name)
