"""A deck and an mpv that answers and tells late, in any order that a socket and two threads allow: in the
end mpv plays what it was told last, and whoever follows the deck's events knows what that is."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beira.apps.player.engines import mpv
from beira.apps.player.engines.mpv import Deck
from beira.apps.player.engines.port import Cue, Ended

TURNS = 30
WORDS = ("play", "follow", "unfollow", "obey", "answer", "agree", "tell", "ends", "fails", "heard")
"""`agree`: mpv does all it was asked, and answers; what it has to tell waits."""


class LateMpv:
    """mpv's playlist as its manual has it. Commands, answers and events each keep their order, and
    wait until `obey`, `answer` and `tell` let one through."""

    def __init__(self, on_event: Callable[[dict[str, Any]], None]) -> None:
        self.pid = 1
        self.playing: tuple[int, str] | None = None
        self.after: deque[tuple[int, str]] = deque()
        self._on_event = on_event
        self._asked: deque[tuple[tuple[Any, ...], asyncio.Future[Any], Any]] = deque()
        self._answers: deque[tuple[asyncio.Future[Any], Any, Any]] = deque()
        self._events: deque[dict[str, Any]] = deque()
        self._entries = 0
        self.replaced = 0

    async def start(self, options: Any) -> None: ...

    async def ended(self) -> None:
        await asyncio.Event().wait()

    async def kill(self) -> None: ...

    async def ask(self, *command: Any, then: Any = None, within_s: float = 0) -> Any:
        answer = asyncio.get_running_loop().create_future()
        self._asked.append((command, answer, then))
        return await answer

    def obey(self) -> bool:
        if not self._asked:
            return False
        command, answer, then = self._asked.popleft()
        said = None
        if command[0] == "stop":
            self.after.clear()
            self._end("stop")
        elif command[0] == "playlist-clear":
            self.after.clear()
        elif command[0] == "loadfile":
            self._entries += 1
            said = {"playlist_entry_id": self._entries}
            if command[2] == "replace":
                self.replaced += 1
                self.after.clear()
                self._end("stop")
            self.after.append((self._entries, command[1]))
            if self.playing is None:
                self._next()
        self._answers.append((answer, then, said))
        return True

    def answer(self) -> bool:
        if not self._answers:
            return False
        answer, then, said = self._answers.popleft()
        if not answer.done():
            if then is not None:
                then(said)
            answer.set_result(said)
        return True

    def tell(self) -> bool:
        if not self._events:
            return False
        self._on_event(self._events.popleft())
        return True

    def ends(self, reason: str = "eof") -> None:
        if self.playing is not None:
            self._end(reason)
            self._next()

    def _end(self, reason: str) -> None:
        if self.playing is not None:
            ended = {"event": "end-file", "playlist_entry_id": self.playing[0], "reason": reason}
            self._events.append(ended)
            self.playing = None

    def _next(self) -> None:
        if self.after:
            self.playing = self.after.popleft()
            self._events.append({"event": "start-file", "playlist_entry_id": self.playing[0]})


class Listener:
    """Follows a deck as `Playing` does: by what it says, and no sooner."""

    def __init__(self, deck: Deck) -> None:
        self.deck = deck
        self.current = ""
        self.lined = ""
        self.ended: list[str] = []
        self._count = 0

    def cue(self) -> Cue:
        self._count += 1
        return Cue(f"c{self._count}", f"c{self._count}", 1_000)

    def play(self) -> None:
        cue = self.cue()
        self.current, self.lined = cue.id, ""
        self.deck.play(cue)

    def follow(self, cue: Cue | None) -> None:
        if self.current:
            self.lined = cue.id if cue else ""
            self.deck.follow(cue)

    def hear(self) -> bool:
        if self.deck._events.empty():
            return False
        event = self.deck._events.get_nowait()
        if isinstance(event, Ended) and event.id == self.current:
            self.ended.append(event.id)
            if event.then and event.then == self.lined:
                self.current, self.lined = self.lined, ""
            else:
                self.current = ""
                self.play()
        return True


class World:
    """A deck that runs, its mpv, and who follows it."""

    async def __aenter__(self) -> World:
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(mpv, "MpvProcess", self._started)
        self._patch.setattr(mpv, "LOOK_EVERY_S", 3_600.0)
        self.deck = Deck()
        self.listener = Listener(self.deck)
        self._run = asyncio.create_task(self.deck.run())
        await breathe()
        self.listener.play()
        await self.settle()
        self.listener.follow(self.listener.cue())
        await self.settle()
        return self

    def _started(self, on_event: Callable[[dict[str, Any]], None]) -> LateMpv:
        self.mpv = LateMpv(on_event)
        return self.mpv

    async def __aexit__(self, *_: object) -> None:
        self._patch.undo()
        self._run.cancel()
        await asyncio.gather(self._run, return_exceptions=True)

    async def does(self, word: str) -> None:
        listener, process = self.listener, self.mpv
        if word == "agree":
            await breathe()
            while process.obey() | process.answer():
                await breathe()
            return
        steps: dict[str, Callable[[], Any]] = {
            "play": listener.play,
            "follow": lambda: listener.follow(listener.cue()),
            "unfollow": lambda: listener.follow(None),
            "obey": process.obey,
            "answer": process.answer,
            "tell": process.tell,
            "ends": process.ends,
            "fails": lambda: process.ends("error"),
            "heard": listener.hear,
        }
        steps[word]()
        await breathe()

    async def settle(self) -> None:
        steps = (self.mpv.obey, self.mpv.answer, self.mpv.tell, self.listener.hear)
        await breathe()
        for _ in range(1_000):
            if not any([step() for step in steps]):
                break
            await breathe()
        else:
            raise AssertionError("it never settles")
        lined, listener, process = self.listener.lined, self.listener, self.mpv
        assert self.deck.cue is not None and process.playing is not None, "there is always music"
        assert process.playing[1] == self.deck.cue.id == listener.current
        assert [path for _, path in process.after] == ([lined] if lined else [])
        assert len(set(listener.ended)) == len(listener.ended), "each ends once"
        assert not self._run.done()


async def breathe() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def world(words: list[str]) -> None:
    async with World() as made:
        for word in words:
            await made.does(word)
        await made.settle()


@settings(max_examples=400, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), max_size=TURNS))
def test_whatever_comes_late_mpv_plays_what_it_was_told_last(words: list[str]) -> None:
    asyncio.run(world(words))


@pytest.mark.parametrize(
    "words",
    [
        # The end was heard, and what comes next was changed, before mpv told that it had gone on.
        ["ends", "tell", "heard", "follow"],
        # mpv had gone on to what was replaced since, and said yes before it told of that.
        ["ends", "follow", "agree", "tell", "tell", "heard"],
    ],
)
def test_what_follows_is_changed_at_the_joint(words: list[str]) -> None:
    asyncio.run(world(words))


async def test_what_was_lined_up_in_time_joins_without_being_loaded_again() -> None:
    async with World() as made:
        loaded = made.mpv.replaced
        for n in range(5):
            for word in ("ends", "tell", "heard", "tell", "follow", "agree"):
                await made.does(word)
            assert len(made.listener.ended) == n + 1
        await made.settle()
        assert made.mpv.replaced == loaded
