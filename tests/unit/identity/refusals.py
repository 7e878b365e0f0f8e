"""One way to say that something must be refused, and how."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest

from beira.kernel.errors import BeiraError


async def refused(awaitable: Awaitable[object], code: str) -> BeiraError:
    """Await it, and demand that it raises an error of that code which says what to do next."""
    with pytest.raises(BeiraError) as caught:
        await awaitable
    assert caught.value.code == code, caught.value
    assert caught.value.hint
    return caught.value
