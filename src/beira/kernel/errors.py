"""Every error a person or a program can meet: a stable code, what happened, and what to do next.

The API answers `code`, `message` and `hint`; the command line prints them; docs/reference/errors.md
lists each code (a test compares the two). Raise the class that says who must act:

- the caller: `Invalid`, `Unauthenticated`, `Denied`, `NotFound`, `Conflict`, `TooLarge`, `TooMany`
- time or the operator: `Unavailable`, `Full`, `Misconfigured`, `Corrupt`
"""

from __future__ import annotations

from typing import ClassVar


class BeiraError(Exception):
    """Base of all. `code` is stable and dotted; `hint` says the next step; `details` are plain data."""

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        hint: str = "",
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint
        self.details = details or {}

    def __str__(self) -> str:
        return f"{self.message} ({self.code})" + (f" {self.hint}" if self.hint else "")


class Invalid(BeiraError):
    """What was given cannot be accepted as it is."""

    status = 400
    default_code = "invalid"


class Unauthenticated(BeiraError):
    """Nobody is known to be asking: sign in, or enrol."""

    status = 401
    default_code = "unauthenticated"


class Denied(BeiraError):
    """Whoever asks is known, and may not."""

    status = 403
    default_code = "denied"


class NotFound(BeiraError):
    """No such thing, or none that the principal may know of."""

    status = 404
    default_code = "not_found"


class Conflict(BeiraError):
    """It contradicts what is already there."""

    status = 409
    default_code = "conflict"


class TooLarge(BeiraError):
    """Over a limit of `kernel.limits`."""

    status = 413
    default_code = "too_large"


class TooMany(BeiraError):
    """Too often; `retry_after_s` says when to try again."""

    status = 429
    default_code = "too_many"

    def __init__(
        self, message: str, *, retry_after_s: float, code: str = "", hint: str = ""
    ) -> None:
        hint = hint or f"Try again in {round(retry_after_s)} s."
        super().__init__(message, code=code, hint=hint, details={"retry_after_s": retry_after_s})
        self.retry_after_s = retry_after_s


class Unavailable(BeiraError):
    """Something it needs is away (the network, the database): nothing was lost, try again."""

    status = 503
    default_code = "unavailable"


class Full(BeiraError):
    """The disk, or a bounded queue, has no room left; what was confirmed before is safe."""

    status = 507
    default_code = "full"


class Misconfigured(BeiraError):
    """A setting, a file or a port must be put right by the operator before this can start."""

    default_code = "misconfigured"


class Corrupt(BeiraError):
    """Stored or received bytes are not what they must be."""

    default_code = "corrupt"
