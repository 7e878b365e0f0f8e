"""Identity on a node, for when the cloud is away: who signed in here before can do so again.

Two kinds of tokens are accepted. The cloud's are verified with its public keys as last seen; they
last minutes, so a revocation the node could not hear of does not hold for long. The node's own are
given for a password that was proven to the cloud through this node within OFFLINE_SIGN_IN_DAYS,
are good on this node only, and act with the role and sites the person had then.

People with a second factor are not remembered: the node has no secret to check it by, and
the password alone would be less than they asked for. They need the cloud, or a session still open.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from beira.identity import tokens, vault
from beira.identity.node_key import NodeKey
from beira.identity.rotation import Turn, decide
from beira.identity.shapes import Enrolled, Membership, Rights, SignedIn
from beira.kernel import limits
from beira.kernel.access import Kind, Principal
from beira.kernel.errors import TooMany, Unauthenticated

MARK = "identity.local"
PEOPLE_KEPT = limits.LOCAL_PEOPLE
SESSIONS_KEPT = limits.LOCAL_SESSIONS
DAY_S = 86_400

GetRights = Callable[[str], Awaitable[Rights | None]]
GetMark = Callable[[str], Awaitable[Any]]
SetMarks = Callable[[Mapping[str, Any]], Awaitable[None]]


class Known(msgspec.Struct, kw_only=True):
    """Somebody who proved their password to the cloud through this node, at `proven_at`."""

    account: str
    email: str
    name: str
    role: str
    sites: tuple[str, ...] | None
    verifier: str
    proven_at: float

    def __repr__(self) -> str:
        return f"Known({self.account})"


class LocalSession(msgspec.Struct, kw_only=True):
    """A sign-in at this node; see `rotation` for its turns."""

    email: str
    salt: str
    turn: int
    turned_at: float
    expires_at: float

    def __repr__(self) -> str:
        return f"LocalSession({self.email})"


class Book(msgspec.Struct, kw_only=True):
    """All a node keeps of identity, in one mark. Bounded: the oldest give way."""

    jwks: dict[str, Any] = {}
    people: dict[str, Known] = {}
    sessions: dict[str, LocalSession] = {}


class LocalIdentity:
    """What a node can say of who is asking. Call `start` before anything else.

    Args: `get_mark` and `set_marks` keep small values durably (a store's marks); `now` is the time in
    seconds since 1970, corrected by the measured skew. `rights` is what the cloud last said of an
    account, and goes before what its tokens say; `groups` are those of the node's site, as of now.
    """

    def __init__(
        self,
        *,
        enrolled: Enrolled,
        key: NodeKey,
        get_mark: GetMark,
        set_marks: SetMarks,
        now: Callable[[], float],
        rights: GetRights | None = None,
        groups: Callable[[], tuple[str, ...]] | None = None,
    ) -> None:
        self._place = enrolled
        self._rights = rights or _unheard
        self._groups = groups or (lambda: enrolled.groups)
        self._key, self._seals = key.signing, key.seals
        self._get_mark = get_mark
        self._set_marks = set_marks
        self._now = now
        self._passwords = vault.Passwords()
        self._clouds, self._own_ones = (
            tokens.Verifier(typ) for typ in (tokens.ACCESS, tokens.NODE_ACCESS)
        )
        self._book = Book(jwks=dict(enrolled.jwks))
        self._cloud_keys = tokens.keys_of(enrolled.jwks)
        self._tries: dict[str, tuple[float, int]] = {}
        self._writing = asyncio.Lock()

    async def start(self) -> None:
        """Read what is kept; what cannot be read any more is forgotten, for people can sign in anew."""
        kept = await self._get_mark(MARK)
        if kept is not None:
            try:
                self._book = msgspec.convert(kept, Book)
            except msgspec.ValidationError:
                self._book = Book(jwks=dict(self._place.jwks))
        self._cloud_keys = tokens.keys_of(self._book.jwks)

    async def update_keys(self, jwks: Mapping[str, Any]) -> None:
        """Trust these keys of the cloud from now on. Call it with what the cloud itself gave."""
        self._book.jwks = dict(jwks)
        self._cloud_keys = tokens.keys_of(jwks)
        await self._save()

    def verifies(self, data: bytes, key_id: str, signature: bytes) -> bool:
        """Whether the cloud made this plain signature, by a key it last gave us."""
        return tokens.verifies(data, signature, self._cloud_keys.get(key_id))

    # Tokens

    async def principal(self, token: str) -> Principal:
        """Who the bearer of an access token is, here. Raises Unauthenticated with its code."""
        _, unproven = tokens.peek(token)
        if unproven.get("iss") == self._place.node:
            return await self._own(token)
        claims = self._clouds.access(
            token, self._cloud_keys, issuer=self._place.issuer, now_s=self._now()
        )
        if claims.kind != Kind.PERSON.value or claims.tenant != self._place.tenant:
            raise _elsewhere()
        role, sites = await self._as_of_now(claims.sub, claims.role, claims.sites, claims.iat)
        return self._person(claims.sub, claims.name, role, sites)

    async def _as_of_now(
        self, account: str, role: str, sites: tuple[str, ...] | None, proven_at: float
    ) -> tuple[str, tuple[str, ...] | None]:
        """Role and sites by what the cloud last said, or else as given. Raises Unauthenticated when
        they were withdrawn, or what was proven at `proven_at` no longer counts."""
        rights = await self._rights(account)
        if rights is None:
            return role, sites
        if not rights.role or proven_at < rights.since_s:
            raise _gone()
        return rights.role, rights.sites

    async def reconsider(self, account: str) -> None:
        """The cloud said something of this account: forget it here if it may not come in any more."""
        for known in [k for k in self._book.people.values() if k.account == account]:
            try:
                _, sites = await self._as_of_now(account, known.role, known.sites, known.proven_at)
            except Unauthenticated:
                await self.forget(account)
                return
            if sites is not None and self._place.site not in sites:
                await self.forget(account)

    async def _own(self, token: str) -> Principal:
        keys = {self._key.kid or "": self._key}
        issuer = self._place.node
        claims = self._own_ones.access(token, keys, issuer=issuer, now_s=self._now())
        session = self._book.sessions.get(claims.sid)
        known = self._book.people.get(session.email) if session else None
        if known is None or claims.sub != known.account:
            raise _gone()
        role, sites = await self._as_of_now(known.account, known.role, known.sites, known.proven_at)
        return self._person(known.account, known.name or known.email, role, sites)

    def _person(
        self, account: str, name: str, role: str, sites: tuple[str, ...] | None
    ) -> Principal:
        if sites is not None and self._place.site not in sites:
            raise _elsewhere()
        return Principal(
            kind=Kind.PERSON,
            id=account,
            tenant=self._place.tenant,
            name=name,
            role=role,
            sites=sites,
            groups=self._groups() if sites is not None else (),
            nodes=(self._place.node,) if sites is not None else (),
        )

    # Signing in

    async def remember(self, password: str, signed: SignedIn) -> None:
        """Keep what a person just proved to the cloud through this node.

        Nothing is kept of people with a second factor, of another tenant or of other sites; and
        what was kept of them before goes.
        """
        welcome = signed.sites is None or self._place.site in signed.sites
        if signed.totp or signed.tenant != self._place.tenant or not welcome:
            await self.forget(signed.account)
            return
        verifier = await self._passwords.hash(vault.canonical_password(password))
        known = Known(
            account=signed.account,
            email=signed.email,
            name=signed.name,
            role=signed.role,
            sites=signed.sites,
            verifier=verifier,
            proven_at=signed.expires_at - signed.expires_in_s,  # by the cloud's clock
        )
        self._book.people.pop(signed.email, None)
        self._book.people[signed.email] = known
        _bound(self._book.people, PEOPLE_KEPT)
        await self._save()

    async def forget(self, account: str) -> None:
        """Drop a person and their sessions here: they left, or their rights changed."""
        gone = {email for email, known in self._book.people.items() if known.account == account}
        if not gone:
            return
        for email in gone:
            del self._book.people[email]
        sessions = self._book.sessions
        self._book.sessions = {k: s for k, s in sessions.items() if s.email not in gone}
        await self._save()

    async def disproved(self, email: str, password: str) -> None:
        """The cloud has just refused this password: if it is the one kept here, it was changed or
        its person was shut out, and they are forgotten. A slip of the keyboard changes nothing."""
        known = self._book.people.get(vault.email_of(email))
        typed = vault.canonical_password(password)
        if known and await self._passwords.verify(known.verifier, typed):
            await self.forget(known.account)

    async def sign_in(self, email: str, password: str, *, address: str = "") -> SignedIn:
        """Tokens of this node for somebody it remembers.

        Raises: Unauthenticated `auth.wrong` (also for somebody not remembered, or too long ago);
        TooMany.
        """
        email = vault.email_of(email)
        password = vault.canonical_password(password)
        keys = [f"account:{email}", *([f"address:{address}"] if address else [])]
        self._count(keys)
        known = self._book.people.get(email)
        if known and known.proven_at + limits.OFFLINE_SIGN_IN_DAYS * DAY_S < self._now():
            known = None
        right = await self._passwords.verify(known.verifier if known else None, password)
        if known is None or not right or not await self._welcome(known):
            raise Unauthenticated(
                "E-mail or password is wrong, or this person has not signed in here lately.",
                code="auth.wrong",
                hint="The first sign-in at a node needs the network, and so does a second factor.",
            )
        for key in keys:
            self._tries.pop(key, None)
        now = self._now()
        session = LocalSession(
            email=email,
            salt=secrets.token_hex(16),
            turn=0,
            turned_at=now,
            expires_at=now + limits.REFRESH_TOKEN_S,
        )
        id = secrets.token_hex(12)
        self._book.sessions[id] = session
        _bound(self._book.sessions, SESSIONS_KEPT)
        await self._save()
        return self._tokens(id, session, known)

    async def refresh(self, refresh_token: str) -> SignedIn:
        """As in the cloud: each token once, and reuse ends the session.

        Raises Unauthenticated `auth.refresh_invalid`, `auth.expired`, `auth.refresh_reused`.
        """
        id, shown = self._parse(refresh_token)
        session = self._book.sessions.get(id)
        known = self._book.people.get(session.email) if session else None
        good = session and vault.same(self._refresh_token(id, session, shown), refresh_token)
        if not good or session is None or known is None:
            raise Unauthenticated(
                "That is no refresh token.", code="auth.refresh_invalid", hint="Sign in again."
            )
        if not await self._welcome(known):
            raise _gone()
        now = self._now()
        latest_s = known.proven_at + limits.OFFLINE_SIGN_IN_DAYS * DAY_S
        if min(session.expires_at, latest_s) <= now:
            raise Unauthenticated(
                "The sign-in has expired.", code="auth.expired", hint="Sign in again."
            )
        turn = decide(shown, session.turn, session.turned_at, now)
        if turn is Turn.STOLEN:
            del self._book.sessions[id]
            await self._save()
            raise Unauthenticated(
                "This refresh token was used before, so the session was ended: it may be stolen.",
                code="auth.refresh_reused",
                hint="Sign in again. If that was not you, change the password.",
            )
        if turn is Turn.NEXT:
            session.turn, session.turned_at = session.turn + 1, now
            session.expires_at = now + limits.REFRESH_TOKEN_S
            await self._save()
        return self._tokens(id, session, known)

    async def _welcome(self, known: Known) -> bool:
        """Whether the cloud, as last heard, still lets this person in; who is not is forgotten."""
        await self.reconsider(known.account)
        return known.email in self._book.people

    async def sign_out(self, token: str) -> None:
        """End the session of a token of this node; others are the cloud's to end."""
        await self.principal(token)
        _, claims = tokens.peek(token)
        if self._book.sessions.pop(str(claims.get("sid", "")), None) is not None:
            await self._save()

    def _tokens(self, id: str, session: LocalSession, known: Known) -> SignedIn:
        now = int(self._now())
        claims = tokens.AccessClaims(
            sub=known.account,
            kind=Kind.PERSON.value,
            tenant=self._place.tenant,
            sid=id,
            iss=self._place.node,
            aud=tokens.AUDIENCE,
            iat=now,
            exp=now + limits.ACCESS_TOKEN_S,
            jti=secrets.token_hex(8),
            name=known.name,
            role=known.role,
            sites=known.sites,
        )
        here = Membership(
            tenant=self._place.tenant,
            name=self._place.tenant_name,
            role=known.role,
            sites=known.sites,
        )
        return SignedIn(
            access_token=tokens.sign(claims, self._key, tokens.NODE_ACCESS),
            refresh_token=self._refresh_token(id, session, session.turn),
            expires_in_s=limits.ACCESS_TOKEN_S,
            expires_at=claims.exp,
            session=id,
            account=known.account,
            email=known.email,
            name=known.name,
            tenant=self._place.tenant,
            role=known.role,
            sites=known.sites,
            memberships=(here,),
        )

    def _refresh_token(self, id: str, session: LocalSession, turn: int) -> str:
        mac = self._seals.mac("local refresh", id, str(turn), session.salt)
        return f"bnt.{id}.{turn}.{vault.base64url(mac)}"

    def _parse(self, refresh_token: str) -> tuple[str, int]:
        parts = refresh_token[:256].split(".")
        if len(parts) != 4 or not (parts[2].isascii() and parts[2].isdigit()) or len(parts[2]) > 9:
            return "", 0
        return parts[1], int(parts[2])

    def _count(self, keys: list[str]) -> None:
        """One more try under each key, in memory: a restart by hand is no way to guess passwords."""
        now, wait_s = self._now(), 0.0
        for key in keys:
            since, count = self._tries.pop(key, (now, 0))
            if not since <= now < since + limits.SIGN_IN_WINDOW_S:
                since, count = now, 0
            self._tries[key] = (since, min(count + 1, limits.SIGN_IN_TRIES + 1))
            if count >= limits.SIGN_IN_TRIES:
                wait_s = max(wait_s, since + limits.SIGN_IN_WINDOW_S - now)
        _bound(self._tries, limits.LOCAL_TRIES)
        if wait_s > 0:
            raise TooMany("Too many tries.", retry_after_s=wait_s, code="auth.too_many")

    async def _save(self) -> None:
        async with self._writing:
            await self._set_marks({MARK: msgspec.to_builtins(self._book)})


def _bound(entries: dict[str, Any], most: int) -> None:
    """Let the oldest go."""
    while len(entries) > most:
        del entries[next(iter(entries))]


async def _unheard(account: str) -> Rights | None:
    """Nothing was said of anybody."""
    return None


def _gone() -> Unauthenticated:
    return Unauthenticated("The session was ended.", code="auth.revoked", hint="Sign in again.")


def _elsewhere() -> Unauthenticated:
    return Unauthenticated(
        "This token is not for this place.",
        code="auth.token_elsewhere",
        hint="Ask an owner of the tenant for the right to this site.",
    )
