"""Who is asking, from the first day: people, nodes and tenants, in the cloud and on a node alone.

`Identity` is the cloud's; `LocalIdentity` is the node's, for when the cloud is away. Both answer
`principal(token)`. Secrets: `vault`; walls in PostgreSQL: `schema`; what travels: `shapes`.
"""

from beira.identity.cloud import Grant, Identity
from beira.identity.local import LocalIdentity
from beira.identity.node_key import NodeKey
from beira.identity.tenants import service
from beira.identity.vault import ServerKey, server_key

__all__ = ["Grant", "Identity", "LocalIdentity", "NodeKey", "ServerKey", "server_key", "service"]
