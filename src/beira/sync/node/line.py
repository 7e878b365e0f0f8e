"""What a node asks apps in the cloud, over and above records and files: see `sync.cloud.answers`."""

from __future__ import annotations

from collections.abc import Callable

from beira.kernel import limits
from beira.kernel.errors import Corrupt, TooLarge, Unavailable
from beira.sync.node.link import TokenSource
from beira.sync.requests import ANSWERS_PATH, CloudRequests


class CloudLine:
    """Implements `host.ports.Line`; `online` says whether it may be worth asking."""

    def __init__(
        self, url: str, token: TokenSource, online: Callable[[], bool], *, ssl: object = True
    ) -> None:
        self._requests = CloudRequests(url.rstrip("/") + ANSWERS_PATH, token, ssl=ssl)
        self._online = online
        self.close = self._requests.close

    async def ask(self, name: str, body: bytes) -> bytes:
        """Raises Unavailable `cloud.away` without a link, TooLarge `answer.too_large` for a question
        or an answer over the limit, and the cloud's own errors."""
        if len(body) > limits.ASKED_BYTES:
            raise _too_large("question", limits.ASKED_BYTES)
        if not self._online():
            raise Unavailable("There is no link to the cloud.", code="cloud.away")
        try:
            _, answer = await self._requests.send(
                "POST",
                f"/{name}",
                data=body,
                timeout_s=limits.ANSWER_TIMEOUT_S + limits.CONNECT_TIMEOUT_S,
                most_bytes=limits.ANSWER_BYTES,
            )
        except Corrupt as error:
            if error.code != "blob.answer":
                raise
            raise _too_large("answer", limits.ANSWER_BYTES) from None
        return answer


def _too_large(what: str, most_bytes: int) -> TooLarge:
    return TooLarge(f"The {what} has over {most_bytes} bytes.", code="answer.too_large")
