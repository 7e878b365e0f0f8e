"""How errors leave the API: PostgREST's body, made of our codes, messages and hints.

`{code, message, details, hint}` is what the clients people know expect. `details` is text or null.
Codes of our own are dotted; PGRST116 is kept because clients look for it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from beira.kernel.errors import (
    BeiraError,
    Conflict,
    Corrupt,
    Denied,
    Full,
    Invalid,
    NotFound,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
)

log = structlog.get_logger(__name__)
JSON = "application/json; charset=utf-8"


class WrongMethod(Invalid):
    """The thing is there, but cannot be asked this way."""

    status: ClassVar[int] = 405
    default_code: ClassVar[str] = "method.unsupported"


class NotAcceptable(Invalid):
    """The answer cannot be given in the form asked for."""

    status: ClassVar[int] = 406
    default_code: ClassVar[str] = "accept.unsupported"


class WrongMedia(Invalid):
    """The body is not in a form that is read."""

    status: ClassVar[int] = 415
    default_code: ClassVar[str] = "content.unsupported"


class OutOfRange(Invalid):
    """The page asked for lies beyond the end."""

    status: ClassVar[int] = 416
    default_code: ClassVar[str] = "range.invalid"


class Gone(NotFound):
    """It was there, and is not kept any longer."""

    status: ClassVar[int] = 410
    default_code: ClassVar[str] = "gone"


class PreconditionFailed(Invalid):
    """The client speaks another version."""

    status: ClassVar[int] = 412
    default_code: ClassVar[str] = "version.unsupported"


class ChecksumMismatch(Invalid):
    """A piece came other than it was sent (tus gives this its own status)."""

    status: ClassVar[int] = 460
    default_code: ClassVar[str] = "upload.checksum"


class NotCovered(Invalid):
    """A part of the dialect that is not spoken here."""

    default_code: ClassVar[str] = "dialect.unsupported"


_BY_CODE = {
    kind.default_code: kind.status
    for kind in (Invalid, Unauthenticated, Denied, NotFound, Conflict, TooLarge, TooMany)
} | {kind.default_code: kind.status for kind in (Unavailable, Full, Corrupt, BeiraError)}
_BY_SUFFIX = {
    "unknown": 404,
    "denied": 403,
    "elsewhere": 403,
    "timeout": 503,
    "fixed": 409,
    "moved": 409,
    "exists": 409,
    "taken": 409,
    "reused": 409,
}


def status_of(code: str) -> int:
    """The HTTP status of a receipt's code: receipts keep the code, not the class it came from."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    return _BY_SUFFIX.get(code.rpartition(".")[2], 400)


def body_of(error: BeiraError) -> dict[str, Any]:
    """PostgREST's error body."""
    return {
        "code": error.code,
        "message": error.message,
        "details": _details(error.details),
        "hint": error.hint or None,
    }


def answer(error: BeiraError, status: int | None = None) -> Response[bytes]:
    """The response that tells of `error`."""
    headers = {}
    if isinstance(error, TooMany):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        content=msgspec.json.encode(body_of(error)),
        status_code=error.status if status is None else status,
        media_type=JSON,
        headers=headers,
    )


def on_beira_error(_: Request[Any, Any, Any], error: BeiraError) -> Response[bytes]:
    return answer(error)


def on_http_error(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the framework itself refuses, in our words."""
    if error.status_code == TooLarge.status:
        return answer(
            TooLarge("The request's body is too large.", hint="Send it in several parts.")
        )
    if error.status_code == NotFound.status:
        return answer(NotFound("There is nothing at this address.", hint="See /rest/v1/."))
    if error.status_code == WrongMethod.status:
        return answer(WrongMethod("This address cannot be asked that way."))
    return answer(Invalid(error.detail or "The request is not understood."), error.status_code)


def on_any_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A fault of ours: told without its inside, logged with it."""
    log.error("api.failed", path=request.url.path, exc_info=error)
    return answer(BeiraError("Something failed here.", hint="The log has the details."))


def _for_auth(handler: Any) -> Any:
    """Supabase's sign-in clients look for `error_code` and `msg`."""

    def handle(request: Request[Any, Any, Any], error: Any) -> Response[bytes]:
        response: Response[bytes] = handler(request, error)
        body = msgspec.json.decode(response.content)
        response.content = msgspec.json.encode(
            body | {"error_code": body["code"], "msg": body["message"]}
        )
        return response

    return handle


HANDLERS: dict[int | type[Exception], Any] = {
    BeiraError: on_beira_error,
    HTTPException: on_http_error,
    Exception: on_any_error,
}
AUTH_HANDLERS = {kind: _for_auth(handler) for kind, handler in HANDLERS.items()}


def _details(details: dict[str, object]) -> str | None:
    text = details.get("text")
    if isinstance(text, str):
        return text
    if not details:
        return None
    return msgspec.json.encode(details, enc_hook=str).decode()
