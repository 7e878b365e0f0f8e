"""The stores of the contract tests, for laws that every store keeps."""

from tests.contract.conftest import (  # noqa: F401 (fixtures)
    cloud,
    kind,
    node_store,
    postgres_cloud,
    postgres_directory,
    postgres_registry,
    postgres_server,
    store,
    tenant,
)
