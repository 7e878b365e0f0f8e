"""The tables of identity in PostgreSQL, and the walls around them.

Two walls stand behind the code, because the application's role is what an SQL injection would be:

- Tables of a tenant carry row-level security, forced: a row is seen and written only while
  `beira.tenant` names its tenant. Accounts are seen through the memberships one can see.
- Signing in, enrolling and refreshing must look across tenants. They do so only through the
  SECURITY DEFINER functions below, each of which answers one exact key (an e-mail, an id, a code's
  selector) that the caller must already know. There are two exceptions, both
  without secrets: `tenants_all`, a platform admin's list of names, and `revoked_since`, which
  says what was revoked while a replica could not hear of it.

No privilege lets the application's role read password hashes or TOTP secrets in bulk: it has no
SELECT on those columns, only `account_by_email`, one exact address at a time. Codes and refresh
tokens could not be used even if read: what is kept are MACs under the server's key, which
the database does not hold.

The owner's own policy (`definer`) is what lets those functions work where the owner is no superuser.
Where one account is all there is (it may make no role), the walls inside this schema do not stand.
"""

from __future__ import annotations

import re

from beira.kernel.errors import Misconfigured

SCHEMA = "beira_identity"

_TABLES = """
CREATE TABLE IF NOT EXISTS tenants (
  id text PRIMARY KEY, name text NOT NULL, created_at float8 NOT NULL);

CREATE TABLE IF NOT EXISTS accounts (
  id text PRIMARY KEY, email text NOT NULL UNIQUE, name text NOT NULL DEFAULT '',
  password_hash text NOT NULL, totp_sealed bytea, totp_on boolean NOT NULL DEFAULT false,
  totp_step bigint NOT NULL DEFAULT 0, recovery text[] NOT NULL DEFAULT '{}',
  admin boolean NOT NULL DEFAULT false, created_at float8 NOT NULL);
ALTER TABLE beira_identity.accounts ADD COLUMN IF NOT EXISTS shut_at float8 NOT NULL DEFAULT 0;

CREATE TABLE IF NOT EXISTS sites (
  tenant text NOT NULL REFERENCES tenants, id text NOT NULL, name text NOT NULL,
  groups text[] NOT NULL DEFAULT '{}', PRIMARY KEY (tenant, id));

CREATE TABLE IF NOT EXISTS memberships (
  tenant text NOT NULL REFERENCES tenants, account text NOT NULL REFERENCES accounts,
  role text NOT NULL CHECK (role IN ('owner', 'member', 'guest')), sites text[],
  PRIMARY KEY (tenant, account));
CREATE INDEX IF NOT EXISTS memberships_account ON memberships (account);

CREATE TABLE IF NOT EXISTS nodes (
  tenant text NOT NULL, id text NOT NULL UNIQUE, site text NOT NULL, name text NOT NULL,
  public_key text NOT NULL UNIQUE, epoch int NOT NULL DEFAULT 1, enrolled_at float8 NOT NULL,
  revoked_at float8, duplicated_at float8, ticket bigint,
  PRIMARY KEY (tenant, id), FOREIGN KEY (tenant, site) REFERENCES sites);

CREATE TABLE IF NOT EXISTS old_keys (
  tenant text NOT NULL, node text NOT NULL, public_key text PRIMARY KEY, epoch int NOT NULL,
  replaced_at float8 NOT NULL, FOREIGN KEY (tenant, node) REFERENCES nodes ON DELETE CASCADE);

CREATE TABLE IF NOT EXISTS enrol_codes (
  tenant text NOT NULL, selector text PRIMARY KEY, mac bytea NOT NULL, site text NOT NULL,
  node text, name text NOT NULL, made_by text NOT NULL, expires_at float8 NOT NULL,
  tries int NOT NULL DEFAULT 0, used_at float8, used_key text,
  FOREIGN KEY (tenant, site) REFERENCES sites);

CREATE TABLE IF NOT EXISTS invitations (
  tenant text NOT NULL REFERENCES tenants, selector text PRIMARY KEY, mac bytea NOT NULL,
  email text NOT NULL, role text NOT NULL CHECK (role IN ('owner', 'member', 'guest')),
  sites text[], expires_at float8 NOT NULL, used_at float8);

CREATE TABLE IF NOT EXISTS recoveries (
  tenant text NOT NULL REFERENCES tenants, selector text PRIMARY KEY, mac bytea NOT NULL,
  account text NOT NULL REFERENCES accounts, totp_off boolean NOT NULL DEFAULT false,
  expires_at float8 NOT NULL);

CREATE TABLE IF NOT EXISTS sessions (
  id text PRIMARY KEY, account text NOT NULL REFERENCES accounts, tenant text NOT NULL,
  salt bytea NOT NULL, turn int NOT NULL DEFAULT 0, turned_at float8 NOT NULL,
  created_at float8 NOT NULL, expires_at float8 NOT NULL, revoked_at float8,
  label text NOT NULL DEFAULT '', address text NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS sessions_account ON sessions (account);

CREATE TABLE IF NOT EXISTS audit (
  tenant text NOT NULL, id text PRIMARY KEY, at float8 NOT NULL, who text NOT NULL,
  what text NOT NULL, about text NOT NULL, ok boolean NOT NULL, detail text NOT NULL DEFAULT '',
  address text NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS audit_tenant ON audit (tenant, at);

CREATE TABLE IF NOT EXISTS signing_keys (
  kid text PRIMARY KEY, public_key text NOT NULL, sealed bytea NOT NULL,
  created_at float8 NOT NULL, retired_at float8);

CREATE TABLE IF NOT EXISTS used_once (id text PRIMARY KEY, expires_at float8 NOT NULL);
CREATE INDEX IF NOT EXISTS used_once_expiry ON used_once (expires_at);

CREATE TABLE IF NOT EXISTS tries (
  key text PRIMARY KEY, since float8 NOT NULL, count int NOT NULL);
CREATE INDEX IF NOT EXISTS tries_since ON tries (since)
"""

_TENANT_TABLES = {
    "tenants": "id",
    "sites": "tenant",
    "memberships": "tenant",
    "nodes": "tenant",
    "old_keys": "tenant",
    "enrol_codes": "tenant",
    "invitations": "tenant",
    "recoveries": "tenant",
    "sessions": "tenant",
    "audit": "tenant",
}

_GRANTS = {
    "tenants": "SELECT, INSERT, UPDATE (name)",
    "accounts": "SELECT (id, email, name, totp_on, admin, created_at, shut_at)",
    "sites": "SELECT, INSERT, UPDATE (name, groups)",
    "memberships": "SELECT, INSERT, UPDATE (role, sites), DELETE",
    "nodes": "SELECT, INSERT, UPDATE",
    "old_keys": "SELECT, INSERT",
    "enrol_codes": "SELECT, INSERT, UPDATE (tries, used_at, used_key)",
    "invitations": "SELECT, INSERT, UPDATE (used_at)",
    "recoveries": "SELECT, INSERT, DELETE",
    "sessions": "SELECT, INSERT, UPDATE (revoked_at)",
    "audit": "SELECT, INSERT",
    "signing_keys": "SELECT, INSERT, UPDATE (retired_at)",
    "used_once": "SELECT, INSERT, DELETE",
    "tries": "SELECT, INSERT, UPDATE, DELETE",
}

# name(arguments) -> (what it returns, its SQL). Every one answers an exact key.
_FUNCTIONS = {
    "account_by_email(p_email text)": (
        "SETOF accounts",
        "SELECT * FROM accounts WHERE email = p_email",
    ),
    "account_by_id(p_id text)": ("SETOF accounts", "SELECT * FROM accounts WHERE id = p_id"),
    "accounts_exist()": ("boolean", "SELECT EXISTS (SELECT FROM accounts)"),
    "account_add(p_id text, p_email text, p_name text, p_hash text, p_admin boolean, p_at float8)": (
        "SETOF text",
        """INSERT INTO accounts (id, email, name, password_hash, admin, created_at)
           VALUES (p_id, p_email, p_name, p_hash, p_admin, p_at)
           ON CONFLICT DO NOTHING RETURNING id""",
    ),
    "account_first(p_id text, p_email text, p_hash text, p_at float8)": (
        "SETOF text",
        """LOCK TABLE accounts IN SHARE ROW EXCLUSIVE MODE;
           INSERT INTO accounts (id, email, password_hash, admin, created_at)
           SELECT p_id, p_email, p_hash, true, p_at WHERE NOT EXISTS (SELECT FROM accounts)
           RETURNING id""",
    ),
    "account_password(p_id text, p_old text, p_hash text)": (
        "SETOF text",
        """UPDATE accounts SET password_hash = p_hash
           WHERE id = p_id AND password_hash = p_old RETURNING id""",
    ),
    "account_shut(p_id text, p_at float8)": (
        "SETOF text",
        "UPDATE accounts SET shut_at = greatest(shut_at, p_at) WHERE id = p_id RETURNING id",
    ),
    "account_name(p_id text, p_name text)": (
        "SETOF text",
        "UPDATE accounts SET name = p_name WHERE id = p_id RETURNING id",
    ),
    "account_totp(p_id text, p_sealed bytea, p_on boolean, p_recovery text[])": (
        "SETOF text",
        """UPDATE accounts SET totp_sealed = p_sealed, totp_on = p_on, recovery = p_recovery,
           totp_step = 0 WHERE id = p_id RETURNING id""",
    ),
    "account_totp_step(p_id text, p_step bigint, p_on boolean)": (
        "SETOF text",
        """UPDATE accounts SET totp_step = p_step, totp_on = totp_on OR p_on
           WHERE id = p_id AND totp_step < p_step RETURNING id""",
    ),
    "account_recovery(p_id text, p_mac text)": (
        "SETOF text",
        """UPDATE accounts SET recovery = array_remove(recovery, p_mac)
           WHERE id = p_id AND p_mac = ANY (recovery) RETURNING id""",
    ),
    "memberships_of(p_account text)": (
        "TABLE (tenant text, name text, role text, sites text[])",
        """SELECT m.tenant, t.name, m.role, m.sites FROM memberships m JOIN tenants t
           ON t.id = m.tenant WHERE m.account = p_account ORDER BY t.name, m.tenant""",
    ),
    "tenants_all()": ("SETOF tenants", "SELECT * FROM tenants ORDER BY name"),
    "tenant_of_node(p_id text)": ("SETOF text", "SELECT tenant FROM nodes WHERE id = p_id"),
    "tenant_of_enrol_code(p_selector text)": (
        "SETOF text",
        "SELECT tenant FROM enrol_codes WHERE selector = p_selector",
    ),
    "tenant_of_invitation(p_selector text)": (
        "SETOF text",
        "SELECT tenant FROM invitations WHERE selector = p_selector",
    ),
    "tenant_of_recovery(p_selector text)": (
        "SETOF text",
        "SELECT tenant FROM recoveries WHERE selector = p_selector",
    ),
    "session_by_id(p_id text)": ("SETOF sessions", "SELECT * FROM sessions WHERE id = p_id"),
    "account_hold(p_id text, p_hash text)": (
        "SETOF text",
        "SELECT id FROM accounts WHERE id = p_id AND password_hash = p_hash FOR SHARE",
    ),
    "person_of_session(p_id text)": (
        """TABLE (account text, tenant text, revoked_at float8, expires_at float8, name text,
           email text, admin boolean, role text, sites text[], groups text[], nodes text[])""",
        """SELECT s.account, s.tenant, s.revoked_at, s.expires_at, a.name, a.email, a.admin,
             m.role, m.sites, ARRAY (SELECT DISTINCT g FROM sites x, unnest(x.groups) g
               WHERE x.tenant = s.tenant AND x.id = ANY (m.sites) ORDER BY g),
             ARRAY (SELECT n.id FROM nodes n
               WHERE n.tenant = s.tenant AND n.site = ANY (m.sites) ORDER BY n.id)
           FROM sessions s JOIN accounts a ON a.id = s.account
           LEFT JOIN memberships m ON m.tenant = s.tenant AND m.account = s.account
           WHERE s.id = p_id""",
    ),
    "principals_of_nodes(p_ids text[])": (
        """TABLE (id text, tenant text, site text, name text, public_key text, epoch int,
           revoked_at float8, groups text[])""",
        """SELECT n.id, n.tenant, n.site, n.name, n.public_key, n.epoch, n.revoked_at, x.groups
           FROM nodes n JOIN sites x ON x.tenant = n.tenant AND x.id = n.site
           WHERE n.id = ANY (p_ids)""",
    ),
    "audit_sign_in(p_id text, p_account text, p_at float8, p_who text, p_ok boolean, "
    "p_detail text, p_address text)": (
        "void",
        """INSERT INTO audit (tenant, id, at, who, what, about, ok, detail, address)
           SELECT coalesce(m.tenant, ''), p_id || coalesce('.' || m.tenant, ''), p_at, p_who,
             'sign_in', p_who, p_ok, p_detail, p_address
           FROM (SELECT 1) one LEFT JOIN memberships m ON m.account = p_account""",
    ),
    "sessions_of(p_account text)": (
        "SETOF sessions",
        "SELECT * FROM sessions WHERE account = p_account ORDER BY created_at DESC",
    ),
    "session_turn(p_id text, p_turn int, p_at float8, p_expires float8)": (
        "SETOF text",
        """UPDATE sessions SET turn = turn + 1, turned_at = p_at, expires_at = p_expires
           WHERE id = p_id AND turn = p_turn AND revoked_at IS NULL RETURNING id""",
    ),
    "session_tenant(p_id text, p_tenant text)": (
        "SETOF text",
        """UPDATE sessions SET tenant = p_tenant
           WHERE id = p_id AND revoked_at IS NULL RETURNING id""",
    ),
    "sessions_end(p_account text, p_id text, p_except text, p_at float8)": (
        "SETOF text",
        """UPDATE sessions SET revoked_at = p_at WHERE account = p_account
           AND (p_id IS NULL OR id = p_id) AND id IS DISTINCT FROM p_except
           AND revoked_at IS NULL RETURNING id""",
    ),
    "sessions_cap(p_account text, p_most int, p_at float8)": (
        "SETOF text",
        """UPDATE sessions SET revoked_at = p_at WHERE revoked_at IS NULL AND id IN (
             SELECT id FROM sessions WHERE account = p_account AND revoked_at IS NULL
             ORDER BY created_at DESC, id OFFSET p_most) RETURNING id""",
    ),
    "revoked_since(p_since float8)": (
        "TABLE (kind text, id text, tenant text)",
        """SELECT 'session', id, tenant FROM sessions WHERE revoked_at >= p_since
           UNION ALL SELECT 'node', id, tenant FROM nodes
           WHERE revoked_at >= p_since OR (epoch > 1 AND enrolled_at >= p_since)""",
    ),
    "tidy(p_now float8, p_audit_before float8)": (
        "void",
        """DELETE FROM used_once WHERE expires_at < p_now;
           DELETE FROM tries WHERE since < p_now - 86400;
           DELETE FROM enrol_codes WHERE expires_at < p_now - 86400;
           DELETE FROM invitations WHERE expires_at < p_now - 86400;
           DELETE FROM recoveries WHERE expires_at < p_now - 86400;
           DELETE FROM sessions WHERE expires_at < p_now - 86400;
           DELETE FROM audit WHERE at < p_audit_before""",
    ),
}

# With the caller's own rights, behind the wall of the tenant named first: a transaction's beginning,
# its questions and its end in one message.
_WALLED = {
    "tickets_shown(p_tenant text, p_ids text[], p_tickets bigint[], p_began bigint[])": (
        "SETOF text",
        """RETURN QUERY SELECT n.id FROM nodes n JOIN unnest(p_ids, p_tickets) AS u (id, ticket)
             ON n.id = u.id WHERE n.tenant = p_tenant AND n.ticket = u.ticket;
           RETURN QUERY UPDATE nodes n SET ticket = u.ticket
           FROM unnest(p_ids, p_tickets, p_began) AS u (id, ticket, began)
           WHERE n.tenant = p_tenant AND n.id = u.id AND (n.ticket IS NULL OR n.ticket < u.began)
           RETURNING n.id;""",
    ),
}


def statements(app_role: str) -> list[str]:
    """What the owner of the database runs, in order; running it again changes nothing.

    Args: `app_role` is the role the program works as. It gets exactly the privileges listed here:
    a blanket GRANT on the schema would undo the walls.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", app_role):
        raise Misconfigured(
            f"The role {app_role!r} has a name that is not supported.",
            code="identity.role_name",
            hint="Use one of small letters, digits and _ in DATABASE_URL.",
        )
    create = [_qualified(s) for s in _TABLES.split(";") if s.strip()]
    return [
        "CREATE SCHEMA IF NOT EXISTS beira_identity",
        "REVOKE ALL ON SCHEMA beira_identity FROM PUBLIC",
        f"GRANT USAGE ON SCHEMA beira_identity TO {app_role}",
        *create,
        *_grants(app_role),
        *_policies(app_role),
        *_functions(app_role),
    ]


def _qualified(statement: str) -> str:
    names = "|".join(_GRANTS)
    pattern = rf"(TABLE IF NOT EXISTS|REFERENCES|ON) ({names})\b"
    return re.sub(pattern, r"\1 beira_identity.\2", statement.strip())


def _grants(app_role: str) -> list[str]:
    # An owner that is also the program's role would take its own functions' rights away.
    revoke = f"""DO $do$ BEGIN IF current_user <> '{app_role}' THEN
      REVOKE ALL ON ALL TABLES IN SCHEMA beira_identity FROM PUBLIC, {app_role};
      END IF; END $do$"""
    return [revoke] + [
        f"GRANT {what} ON beira_identity.{table} TO {app_role}" for table, what in _GRANTS.items()
    ]


def _policies(app_role: str) -> list[str]:
    rules = {
        table: f"{column} = current_setting('beira.tenant', true)"
        for table, column in _TENANT_TABLES.items()
    }
    rules["accounts"] = (
        "EXISTS (SELECT FROM beira_identity.memberships m WHERE m.account = accounts.id)"
    )
    made = []
    for table, rule in rules.items():
        on = f"ON beira_identity.{table}"
        made += [
            f"ALTER TABLE beira_identity.{table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE beira_identity.{table} FORCE ROW LEVEL SECURITY",
            f"DROP POLICY IF EXISTS tenant {on}",
            f"CREATE POLICY tenant {on} TO {app_role} USING ({rule})",
            f"DROP POLICY IF EXISTS definer {on}",
            f"CREATE POLICY definer {on} TO CURRENT_USER USING (true)",
        ]
    return made


def _functions(app_role: str) -> list[str]:
    made = []
    for signature, (returns, body) in _FUNCTIONS.items():
        returns = re.sub(
            r"^SETOF (accounts|tenants|sessions)$", r"SETOF beira_identity.\1", returns
        )
        name = f"beira_identity.{signature}"
        made += [
            f"CREATE OR REPLACE FUNCTION {name} RETURNS {returns} LANGUAGE sql SECURITY DEFINER"
            f" SET search_path = beira_identity, pg_temp AS $beira${body}$beira$",
            *_for(name, app_role),
        ]
    for signature, (returns, body) in _WALLED.items():
        name = f"beira_identity.{signature}"
        made += [
            f"CREATE OR REPLACE FUNCTION {name} RETURNS {returns} LANGUAGE plpgsql SECURITY INVOKER"
            " SET search_path = beira_identity, pg_temp AS $beira$BEGIN"
            f" PERFORM set_config('beira.tenant', p_tenant, true); {body} END$beira$",
            *_for(name, app_role),
        ]
    return made


def _for(function: str, app_role: str) -> list[str]:
    return [
        f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION {function} TO {app_role}",
    ]
