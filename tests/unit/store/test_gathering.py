"""Questions asked together: nobody waits for good, whatever becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from beira.kernel.errors import BeiraError, Invalid, Unavailable
from beira.store.gathering import Gathering


class Asked:
    """A database that answers a group at a time, and how it was asked. A question that is an error is
    raised, of a group as of one alone."""

    def __init__(self) -> None:
        self.groups: list[list[object]] = []
        self.may = asyncio.Event()

    async def together(self, questions: list[object]) -> Sequence[object | BeiraError]:
        self.groups.append(questions)
        await self.may.wait()
        for question in questions:
            if isinstance(question, Exception):
                raise question
        return [f"answer to {question}" for question in questions]


def begun(made: Gathering[object, object], *questions: object) -> list[asyncio.Task[object]]:
    return [asyncio.ensure_future(made.ask(question)) for question in questions]


async def test_what_comes_meanwhile_is_asked_as_one() -> None:
    asked = Asked()
    made: Gathering[object, object] = Gathering(asked.together)
    tasks = begun(made, "a")
    await asyncio.sleep(0.01)
    tasks += begun(made, "b", "c")
    asked.may.set()
    assert await asyncio.gather(*tasks) == ["answer to a", "answer to b", "answer to c"]
    assert asked.groups == [["a"], ["b", "c"]]


async def test_a_question_that_cannot_be_answered_spoils_no_other() -> None:
    asked = Asked()
    asked.may.set()
    made: Gathering[object, object] = Gathering(asked.together)
    told = await asyncio.gather(*begun(made, "a", Invalid("no"), "c"), return_exceptions=True)
    assert told[0] == "answer to a" and told[2] == "answer to c"
    assert isinstance(told[1], Invalid)


async def test_a_database_that_is_away_is_asked_once_for_all() -> None:
    asked = Asked()
    asked.may.set()
    made: Gathering[object, object] = Gathering(asked.together)
    told = await asyncio.gather(*begun(made, "a", Unavailable("away")), return_exceptions=True)
    assert all(isinstance(one, Unavailable) for one in told) and len(asked.groups) == 1


async def test_a_fault_is_told_to_who_asked_and_those_that_wait_go_on() -> None:
    asked = Asked()
    made: Gathering[object, object] = Gathering(asked.together)
    tasks = begun(made, RuntimeError("a bug"))
    await asyncio.sleep(0.01)
    tasks += begun(made, "waits")
    asked.may.set()
    with pytest.raises(RuntimeError, match="a bug"):
        await tasks[0]
    assert await asyncio.wait_for(tasks[1], 5) == "answer to waits"


async def test_who_goes_away_takes_nobody_along() -> None:
    asked = Asked()
    made: Gathering[object, object] = Gathering(asked.together)
    gone, stays = begun(made, "a", "b")
    await asyncio.sleep(0.01)
    gone.cancel()
    asked.may.set()
    assert await asyncio.wait_for(stays, 5) == "answer to b"
