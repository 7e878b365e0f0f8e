"""What identity hands out and takes in, as the API sends it. Secrets are `Secret`: they do not print."""

from __future__ import annotations

import msgspec

ROLES = ("owner", "member", "guest")


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """Base: fields named like secrets are never shown by `repr`, nor by a log that calls it."""

    def __repr__(self) -> str:
        shown = (
            f"{name}={'…' if name in _SECRET and getattr(self, name) else repr(getattr(self, name))}"
            for name in self.__struct_fields__
        )
        return f"{type(self).__name__}({', '.join(shown)})"


_SECRET = frozenset(
    {"password", "access_token", "refresh_token", "code", "recovery_codes", "secret", "uri"}
    | {"assertion", "qr_svg", "proof", "link"}
)


class Membership(Struct, frozen=True, kw_only=True):
    """One tenant a person belongs to. `sites` None means all of it."""

    tenant: str
    name: str
    role: str
    sites: tuple[str, ...] | None = None


class SignedIn(Struct, frozen=True, kw_only=True):
    """A session's tokens. `tenant` is empty for a platform admin outside any tenant."""

    access_token: str
    refresh_token: str
    expires_in_s: int
    expires_at: int
    session: str
    account: str
    email: str
    name: str
    tenant: str
    role: str
    sites: tuple[str, ...] | None
    memberships: tuple[Membership, ...]
    totp: bool = False


class Account(Struct, frozen=True, kw_only=True):
    """A person, as they may know of themselves."""

    id: str
    email: str
    name: str
    admin: bool
    totp: bool
    memberships: tuple[Membership, ...]


class Session(Struct, frozen=True, kw_only=True):
    """One sign-in that still holds, as its person may see it. Times are seconds since 1970."""

    id: str
    tenant: str
    label: str
    address: str
    created_at: float
    used_at: float
    current: bool = False


class FirstOwner(Struct, frozen=True, kw_only=True):
    """The password is there only if it was made up here, and only this once."""

    account: str
    tenant: str
    email: str
    password: str | None


class TotpSetup(Struct, frozen=True, kw_only=True):
    """For the authenticator app; on once a first code of it was confirmed."""

    secret: str
    uri: str
    qr_svg: str
    recovery_codes: tuple[str, ...]


class Tenant(Struct, frozen=True, kw_only=True):
    id: str
    name: str


class SiteInfo(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    groups: tuple[str, ...] = ()


class Member(Struct, frozen=True, kw_only=True):
    account: str
    email: str
    name: str
    role: str
    sites: tuple[str, ...] | None
    totp: bool
    shut_at: float = 0.0


class Rights(Struct, frozen=True, kw_only=True):
    """What somebody may do at a node as of now; no role: nothing any more. What was signed or proven
    before `since_s` (seconds since 1970) does not hold."""

    role: str
    sites: tuple[str, ...] | None = None
    since_s: float = 0.0


class Invitation(Struct, frozen=True, kw_only=True):
    """One-time: whoever opens the link becomes a member under this address."""

    code: str
    link: str
    email: str
    role: str
    expires_at: float


class RecoveryLink(Struct, frozen=True, kw_only=True):
    """One-time: whoever opens the link sets a new password for this address."""

    code: str
    link: str
    email: str
    expires_at: float


class NodeView(Struct, frozen=True, kw_only=True):
    """A node as its owner sees it. `duplicated_at`: two machines used its identity."""

    id: str
    site: str
    name: str
    enrolled_at: float
    revoked_at: float | None
    duplicated_at: float | None
    fingerprint: str


class EnrolCode(Struct, frozen=True, kw_only=True):
    """Shown once: as text and as a QR code of `link`."""

    code: str
    link: str
    qr_svg: str
    site: str
    node: str | None
    expires_at: float


class Challenge(Struct, frozen=True, kw_only=True):
    """A nonce to sign, within `expires_in_s`; `now_s` lets a node measure its clock's skew."""

    nonce: str
    expires_in_s: int
    issuer: str
    now_s: float


class EnrolRequest(Struct, frozen=True, kw_only=True):
    """`public_key`: 32 bytes, `proof`: 64 bytes by `node_key.enrol_proof`, both base64url."""

    code: str
    public_key: str
    nonce: str
    proof: str


class Enrolled(Struct, frozen=True, kw_only=True):
    """What a node must keep: who and where it is, and how to trust the cloud."""

    node: str
    tenant: str
    tenant_name: str
    site: str
    site_name: str
    name: str
    groups: tuple[str, ...]
    issuer: str
    jwks: dict[str, object]


class NodeToken(Struct, frozen=True, kw_only=True):
    access_token: str
    expires_in_s: int
    expires_at: int


class AuditEntry(Struct, frozen=True, kw_only=True):
    id: str
    at: float
    who: str
    what: str
    about: str
    ok: bool
    detail: str
    address: str


class Revocation(Struct, frozen=True, kw_only=True):
    """What no longer holds: drop live connections of it.

    `kind` is session, node, account (its rights changed: ask again for its principal), or lost: news
    may have been missed, so every live connection must be checked again.
    """

    kind: str
    id: str = ""
    tenant: str = ""
