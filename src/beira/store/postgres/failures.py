"""What goes wrong with PostgreSQL, in Beira's words: who must act, and whether to try again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from beira.kernel.errors import BeiraError, Full, Invalid, Misconfigured, Unavailable

BROKEN = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver's, of a connection lost in the middle of a message
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""The database is away, or a connection to it is of no use any more."""
_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ClientConfigurationError,
)
AGAIN = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InvalidCachedStatementError,  # another replica has grown the table
)
"""The transaction did nothing and may simply be run again."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise what PostgreSQL and its driver raise within as a BeiraError.

    Raises: Unavailable, Full, Invalid for values no column can hold, Misconfigured for an account
    without the rights it needs. Other errors are faults of ours and stay as they are.
    """
    try:
        yield
    except BeiraError:
        raise
    except (asyncpg.DiskFullError, asyncpg.OutOfMemoryError) as error:
        raise Full(
            "The database has no room left.",
            code="database.full",
            hint="Give it more disk, or shorten how long records are kept.",
        ) from error
    except _REFUSED as error:
        raise Misconfigured(
            f"PostgreSQL refuses: {error}.",
            code="database.refused",
            hint="Check the user, password, database name and rights in DATABASE_URL.",
        ) from error
    except (asyncpg.DataError, UnicodeError) as error:
        raise _unstorable(error) from error
    except (*BROKEN, *AGAIN) as error:
        if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
            raise _unstorable(error) from error  # the driver's own DataError
        raise away(str(error) or type(error).__name__) from error


def away(why: str) -> Unavailable:
    return Unavailable(
        f"The database does not answer: {why}.",
        code="database.away",
        hint="Nothing confirmed is lost; it is tried again by itself.",
    )


def _unstorable(error: Exception) -> Invalid:
    return Invalid(
        f"A value cannot be stored: {error}.",
        code="value.unstorable",
        hint="Texts are Unicode without NUL; numbers have 64 bits.",
    )
