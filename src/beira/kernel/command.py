"""Verbs: what an app can do, whichever door it came in by, and the receipt each one leaves.

    @command(roles=("owner", "member"))
    async def register_punch(ctx: Context, employee: str, at: datetime) -> Punch:
        "Registers a clock-in or clock-out."

Parameters are typed and checked before the handler runs. What the handler writes through its context
is committed with the receipt in one transaction: all of it, or none.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import Enum
from typing import Annotated, Any, Protocol, TypeVar, overload

import msgspec

from beira.kernel.access import Principal
from beira.kernel.collection import DOWN, NODE, UP, Lane, Personal, collection
from beira.kernel.errors import Invalid
from beira.kernel.query import Filter, Page, Query
from beira.kernel.record import Fact, Record

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")


class Runs(Enum):
    """Where a command may run: on nodes, in the cloud, or wherever it is asked for."""

    NODE = "node"
    CLOUD = "cloud"
    ANYWHERE = "anywhere"


class Context(Protocol):
    """What a command's handler may touch. Nothing is durable until the handler has returned."""

    @property
    def principal(self) -> Principal: ...
    @property
    def call_id(self) -> str: ...
    @property
    def trace_id(self) -> str: ...
    @property
    def site(self) -> str | None:
        """The site it runs at; None in the cloud."""
        ...

    @property
    def zone(self) -> tzinfo:
        """The time zone of the site, or of the tenant where there is no site."""
        ...

    @property
    def commands(self) -> Mapping[str, Command]:
        """All commands of the apps that are here, by name."""
        ...

    def now(self) -> datetime:
        """The time, in UTC, corrected by the measured skew."""
        ...

    def put(self, record: R, *, partition: str | None = None, lane: Lane | None = None) -> R:
        """Write a whole record; returns it with its id. `lane` overrides the collection's."""
        ...

    def patch(self, kind: type[Record], id: str, /, **fields: object) -> None:
        """Change some fields of a state."""
        ...

    def delete(self, kind: type[Record], id: str, /) -> None:
        """Delete a state. Facts cannot be deleted: write a correcting fact."""
        ...

    async def get(self, kind: type[R], id: str, /) -> R | None: ...

    async def find(
        self,
        kind: type[R],
        /,
        where: Filter | None = None,
        *,
        newest_first: bool = False,
        limit: int = 1_000,
    ) -> list[R]: ...

    async def query(self, query: Query) -> Page: ...

    async def settings(self, kind: type[S], /) -> S:
        """The app's settings in force here: the node's over the site's over the tenant's."""
        ...

    def edge(self, kind: type[T], /) -> T:
        """What runs of the app on this node (what its `edge` gave). Raises Unavailable `edge.away`."""
        ...


Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Param:
    """One typed parameter of a command."""

    name: str
    python_type: Any
    required: bool
    default: Any
    personal: bool


@dataclass(frozen=True, slots=True)
class Command:
    """A verb of an app, as declared."""

    name: str
    handler: Handler
    params: Mapping[str, Param]
    roles: frozenset[str]
    runs: Runs
    lane: Lane
    doc: str

    def check(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Typed arguments from plain ones, defaults added.

        Raises: Invalid naming the parameter.
        """
        for name in given.keys() - self.params.keys():
            raise self._invalid(name, "is not a parameter")
        typed = {}
        for name, param in self.params.items():
            if name in given:
                typed[name] = self._typed(param, given[name])
            elif param.required:
                raise self._invalid(name, "is missing")
            else:
                typed[name] = param.default
        return typed

    def _typed(self, param: Param, value: object) -> Any:
        try:
            return msgspec.convert(msgspec.to_builtins(value), param.python_type)
        except (msgspec.ValidationError, TypeError) as error:
            raise self._invalid(param.name, str(error)) from None

    def _invalid(self, param: str, why: str) -> Invalid:
        wanted = ", ".join(self.params) or "none"
        return Invalid(
            f"{self.name}: {param[:48]}: {why}.",
            code="parameter.invalid",
            hint=f"Parameters: {wanted}.",
            details={"command": self.name, "parameter": param},
        )


_DECLARED = "__beira_command__"
H = TypeVar("H", bound=Handler)


@overload
def command(handler: H, /) -> H: ...


@overload
def command(
    *,
    name: str = "",
    roles: Iterable[str] = ("owner", "member"),
    runs: Runs = Runs.NODE,
    lane: Lane = Lane.NORMAL,
) -> Callable[[H], H]: ...


def command(
    handler: H | None = None,
    /,
    *,
    name: str = "",
    roles: Iterable[str] = ("owner", "member"),
    runs: Runs = Runs.NODE,
    lane: Lane = Lane.NORMAL,
) -> H | Callable[[H], H]:
    """Declare an async function, whose first parameter is the Context, as a command.

    `roles` are the people who may call it by any door; nodes' own doors (a voice at the counter)
    act as the node. `lane` is that of its receipt.
    """

    def declare(fn: H) -> H:
        declared = Command(
            name=name or fn.__name__,
            handler=fn,
            params=_params_of(fn),
            roles=frozenset(roles),
            runs=runs,
            lane=lane,
            doc=inspect.getdoc(fn) or "",
        )
        setattr(fn, _DECLARED, declared)
        return fn

    return declare if handler is None else declare(handler)


def command_of(handler: Handler) -> Command:
    """The declaration of a handler. Raises Invalid if it has none."""
    found = getattr(handler, _DECLARED, None)
    if not isinstance(found, Command):
        raise Invalid(f"{handler.__name__} is not declared.", hint="Decorate it with @command.")
    return found


def _params_of(handler: Handler) -> dict[str, Param]:
    hints = typing.get_type_hints(handler, include_extras=True)
    params = {}
    for info in list(inspect.signature(handler).parameters.values())[1:]:
        hint = hints[info.name]
        required = info.default is inspect.Parameter.empty
        params[info.name] = Param(
            name=info.name,
            python_type=hint,
            required=required,
            default=None if required else info.default,
            personal=any(m is Personal for m in getattr(hint, "__metadata__", ())),
        )
    return params


@collection("calls", flow=DOWN, lane=Lane.CRITICAL, partition=NODE, write=(), retention_days=30)
class Call(Fact):
    """A command sent to a node from elsewhere. It is not obeyed after `expires_at`."""

    command: str
    params: Annotated[dict[str, Any], Personal]
    by: str
    role: str
    expires_at: datetime
    trace: str = ""


@collection("receipts", flow=UP, lane=Lane.NORMAL, write=(), retention_days=90)
class Receipt(Fact):
    """What became of a command: its id is the call's, so that a call is carried out once."""

    command: str
    by: str
    door: str
    at: datetime
    ok: bool
    code: str = ""
    message: Annotated[str, Personal] = ""
    hint: str = ""
    result: Annotated[Any, Personal] = None
    took_ms: float = 0
    trace: str = ""
