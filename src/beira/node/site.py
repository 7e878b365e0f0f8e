"""A node's API and pages. Loading what they need takes as long as all the rest of a node's start: that
is done when its apps already work."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from litestar import Litestar
from litestar.datastructures import State

import beira
from beira.api import Api, ApiSettings, Door
from beira.api.accounts import NodeAccounts
from beira.host.serve import answering_to, own_names, serving
from beira.kernel import limits
from beira.node.cloud_client import CloudClient, RemoteAccounts
from beira.node.rights import NodeRights
from beira.node.status import node_routes
from beira.portal import Portal

if TYPE_CHECKING:
    from beira.node.program import Node, NodeConfig


@contextlib.asynccontextmanager
async def serving_pages(
    node: Node, config: NodeConfig, rights: NodeRights, cloud: CloudClient
) -> AsyncIterator[str]:
    """Serve a node's API and pages while the context lasts; yields their address."""
    accounts = NodeAccounts(node.identity, node.host.place, RemoteAccounts(cloud))
    async with serving(_site(node, accounts, rights, config), config.listen) as address:
        yield address


def _site(node: Node, accounts: NodeAccounts, rights: NodeRights, config: NodeConfig) -> Litestar:
    door = Door(accounts, node)
    settings = ApiSettings(
        origins=config.origins,
        proxies=config.proxies,
        metrics_from=(*ApiSettings().metrics_from, *config.metrics_from),
    )
    return Litestar(
        route_handlers=node_routes(node.host, node.agent, beira.__version__),
        plugins=[
            Api(door, sign_in=accounts, revocations=rights, settings=settings),
            Portal(
                door=door,
                sign_in=accounts,
                node=node.host,
                proxies=config.proxies,
                revocations=rights,
            ),
        ],
        state=State(
            {
                "host": node.host,
                "pending": node.agent.pending,
                "sync_state": lambda: node.agent.state,
                "stopping": node.stopping,
            }
        ),
        middleware=[answering_to(own_names(config.listen, config.names))],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=limits.BODY_BYTES,
    )
