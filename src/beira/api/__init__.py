"""Records, commands, sign-in and realtime over HTTP: the same API on a node and in the cloud.

A program mounts it as a plugin of its Litestar application, beside its pages:

    Litestar(route_handlers=[...pages], plugins=[Api(door=Door(identity, hosts), ...)])
"""

from beira.api.door import Door
from beira.api.plugin import Api, ApiSettings
from beira.api.ports import Authenticator, Hosts

__all__ = ["Api", "ApiSettings", "Authenticator", "Door", "Hosts"]
