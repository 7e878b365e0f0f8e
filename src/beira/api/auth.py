"""Signing in under the paths and in the shapes that Supabase's clients know (`/auth/v1`).

What a person may do is in the token; how the token is made is `identity`'s. Passwords and codes are
taken from bodies only, never from addresses, and nothing here logs a body.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.handlers import HTTPRouteHandler

import beira
from beira.api.asked import body_of, parameters
from beira.api.door import Door, bearer
from beira.api.errors import JSON
from beira.api.ports import NodeDoor, Person, SignIn, Tokens
from beira.kernel import limits
from beira.kernel.errors import Invalid, NotFound

AnyRequest = Request[Any, Any, Any]
Address = Callable[[AnyRequest], str]


def auth_routes(
    door: Door, sign_in: SignIn | None, nodes: NodeDoor | None, address: Address
) -> list[HTTPRouteHandler]:
    """The handlers under `/auth/v1`; `address` tells a caller's address, which counts its tries."""
    return [
        *_session_routes(_Given(sign_in), address),
        *_account_routes(_Given(sign_in)),
        *_node_routes(door, nodes, address),
        *_public_routes(sign_in),
    ]


class _Given:
    """Sign-in, or an answer that says it is not here."""

    def __init__(self, sign_in: SignIn | None) -> None:
        self._sign_in = sign_in

    def __call__(self) -> SignIn:
        if self._sign_in is None:
            raise _elsewhere()
        return self._sign_in


def _session_routes(given: _Given, address: Address) -> list[HTTPRouteHandler]:
    @post("/token", status_code=200)
    async def token(request: AnyRequest) -> Response[bytes]:
        """A session, for a password or a refresh token."""
        grant = dict(parameters(request)).get("grant_type", "")
        body = await _object(request)
        if grant == "refresh_token":
            tokens = await given().refresh(_text(body, "refresh_token"), address=address(request))
        elif grant == "password":
            tokens = await given().sign_in(
                _text(body, "email"),
                _text(body, "password"),
                code=_code(body),
                tenant=_text(body, "tenant", ""),
                address=address(request),
                label=request.headers.get("user-agent", "")[:120],
            )
        else:
            raise Invalid(
                f"grant_type={grant[:40]} is not covered.",
                code="auth.grant_unsupported",
                hint="Use grant_type=password or grant_type=refresh_token.",
            )
        return _json(_session(tokens))

    @post("/logout", status_code=200)
    async def logout(request: AnyRequest) -> Response[bytes]:
        """End this session, the others, or all."""
        scope = dict(parameters(request)).get("scope", "global")
        if scope not in ("global", "local", "others"):
            raise Invalid("scope is global, local or others.")
        await given().sign_out(bearer(request.headers), scope=scope)
        return Response(content=b"", status_code=204)

    return [token, logout]


def _account_routes(given: _Given) -> list[HTTPRouteHandler]:
    @get("/user", status_code=200)
    async def user(request: AnyRequest) -> Response[bytes]:
        """Whoever is signed in."""
        return _json(_user(await given().person(bearer(request.headers))))

    @put("/user", status_code=200)
    async def change(request: AnyRequest) -> Response[bytes]:
        """A new password, with the present one; or another name."""
        token, body = bearer(request.headers), await _object(request)
        data = body.get("data")
        if isinstance(data, dict) and "name" in data:
            await given().rename(token, _text(data, "name"))
        if "password" in body:
            old = _text(body, "current_password")
            await given().change_password(token, old, _text(body, "password"))
        return _json(_user(await given().person(token)))

    @post("/factors", status_code=200)
    async def enrol(request: AnyRequest) -> Response[bytes]:
        """A new authenticator; it counts once a first code of it is verified."""
        token, body = bearer(request.headers), await _object(request)
        if body.get("factor_type", "totp") != "totp":
            raise Invalid("Only factor_type totp is covered.", code="auth.factor_unsupported")
        setup = await given().begin_totp(token, _text(body, "password", ""))
        totp = {"qr_code": setup.qr_svg, "secret": setup.secret, "uri": setup.uri}
        return _json(
            {
                "id": "totp",
                "type": "totp",
                "friendly_name": _text(body, "friendly_name", "") or "Authenticator",
                "totp": totp,
                "recovery_codes": setup.recovery_codes,
            }
        )

    @post("/factors/totp/verify", status_code=200)
    async def verify(request: AnyRequest) -> Response[bytes]:
        """Turn the second factor on, with a first code of it."""
        token, body = bearer(request.headers), await _object(request)
        await given().confirm_totp(token, _text(body, "code"))
        return Response(content=b"", status_code=204)

    @delete("/factors/totp", status_code=200)
    async def remove(request: AnyRequest) -> Response[bytes]:
        """Turn the second factor off, with a last code of it or a recovery code."""
        token, body = bearer(request.headers), await _object(request)
        await given().disable_totp(token, _text(body, "code"))
        return Response(content=b"", status_code=204)

    return [user, change, enrol, verify, remove]


def _node_routes(door: Door, nodes: NodeDoor | None, address: Address) -> list[HTTPRouteHandler]:
    def given() -> NodeDoor:
        if nodes is None:
            raise _elsewhere()
        return nodes

    @post("/nodes/challenge", status_code=200)
    async def challenge() -> Response[bytes]:
        """A nonce for a node to sign."""
        return _json(given().challenge())

    @post("/nodes/enrol", status_code=200)
    async def enrol(request: AnyRequest) -> Response[bytes]:
        """Make whoever holds a one-time code and a key a node."""
        return _json(await given().enrol(await _object(request), address=address(request)))

    @post("/nodes/token", status_code=200)
    async def token(request: AnyRequest) -> Response[bytes]:
        """A node's access token, for an assertion it signed."""
        return _json(await given().token(_text(await _object(request), "assertion")))

    return [challenge, enrol, token]


def _public_routes(sign_in: SignIn | None) -> list[HTTPRouteHandler]:
    @get("/.well-known/jwks.json", status_code=200)
    async def jwks() -> Response[bytes]:
        """The public keys that tokens are signed with."""
        return _json(sign_in.jwks() if sign_in else {"keys": []})

    @get("/health", status_code=200)
    async def health() -> Response[bytes]:
        """That sign-in answers."""
        return _json({"name": "beira", "version": beira.__version__, "description": "Sign-in"})

    @get("/settings", status_code=200)
    async def settings() -> Response[bytes]:
        """Which ways of signing in there are."""
        return _json(
            {
                "external": {
                    "email": sign_in is not None,
                    "phone": False,
                    "anonymous_users": False,
                },
                "disable_signup": True,
                "mailer_autoconfirm": False,
                "phone_autoconfirm": False,
                "saml_enabled": False,
            }
        )

    return [jwks, health, settings]


def _session(tokens: Tokens) -> dict[str, Any]:
    return {
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "token_type": "bearer",
        "expires_in": tokens.expires_in_s,
        "expires_at": tokens.expires_at,
        "user": _user(tokens.person),
    }


def _user(person: Person) -> dict[str, Any]:
    """A person as Supabase's clients know a user. Times of signing up are not told."""
    since = datetime.fromtimestamp(0, UTC).isoformat()
    factor = {"id": "totp", "factor_type": "totp", "status": "verified", "friendly_name": ""}
    factor |= {"created_at": since, "updated_at": since}
    return {
        "id": person.id,
        "aud": "authenticated",
        "role": "authenticated",
        "email": person.email,
        "app_metadata": {
            "provider": "email",
            "providers": ["email"],
            "tenant": person.tenant,
            "role": person.role,
            "sites": person.sites,
        },
        "user_metadata": {"name": person.name},
        "factors": [factor] if person.totp else [],
        "identities": [],
        "created_at": since,
        "is_anonymous": False,
    }


async def _object(request: AnyRequest) -> dict[str, Any]:
    body = await body_of(request)
    if not isinstance(body, dict):
        raise Invalid("The body is not a JSON object.", code="body.invalid")
    return body


def _text(body: dict[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if value is None and default is not None:
        value = default
    if not isinstance(value, str) or len(value) > limits.SIGN_IN_TEXT_CHARS or "\x00" in value:
        raise Invalid(
            f"{name} is missing, or is no text.",
            code="body.invalid",
            hint=f'Send {{"{name}": "…"}}.',
        )
    return value


def _code(body: dict[str, Any]) -> str:
    """The second factor's code. Supabase's clients can only send it as their captcha token."""
    meta = body.get("gotrue_meta_security")
    captcha = meta.get("captcha_token") if isinstance(meta, dict) else None
    return _text(body, "code", "") or (captcha if isinstance(captcha, str) else "")[:64]


def _json(value: object) -> Response[bytes]:
    return Response(content=msgspec.json.encode(value), status_code=200, media_type=JSON)


def _elsewhere() -> NotFound:
    return NotFound(
        "Signing in is not done here.", code="auth.elsewhere", hint="Sign in to the cloud."
    )
