"""Who is asking, from the first day: people, nodes and tenants, in the cloud and on a node alone.

`Identity` is the cloud's; `LocalIdentity` is the node's, for when the cloud is away. Both answer
`principal(token)`. Secrets: `vault`; walls in PostgreSQL: `schema`; what travels: `shapes`.

What only the cloud has is loaded when it is first named: a node need not have a PostgreSQL driver.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from beira.identity.local import LocalIdentity
from beira.identity.node_key import NodeKey
from beira.identity.vault import ServerKey, server_key

if TYPE_CHECKING:
    from beira.identity.cloud import Grant, Identity
    from beira.identity.tenants import service

__all__ = ["Grant", "Identity", "LocalIdentity", "NodeKey", "ServerKey", "server_key", "service"]

_CLOUDS = {"Grant": "cloud", "Identity": "cloud", "service": "tenants"}


def __getattr__(name: str) -> Any:
    if name not in _CLOUDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_CLOUDS[name]}"), name)
