"""Open questions answered by a language model on the shop's own machine, within a deadline.

It talks to any server with OpenAI's chat interface (llama.cpp, vLLM, LM Studio) or to Ollama. It is
asked only for what is no command, it can do nothing, and whoever asks has an answer of its own for
when this one is late.
"""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec

from beira.sdk import Invalid, Unavailable

ANSWER_CHARS = 500
ANSWER_BYTES = 65_536
ANSWER_TOKENS = 120
QUESTION_CHARS = 500
_THINKING = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_ASK = {
    "pt-BR": "Você é a Aurora, assistente de uma loja. Responda em português do Brasil, em até duas "
    "frases curtas, sem listas nem emojis. Você não registra nada; se pedirem, diga para usar um "
    "comando. Se não souber, diga que não sabe.",
    "en": "You are Aurora, a shop assistant. Answer in English in at most two short sentences, "
    "without lists or emojis. You record nothing; if asked to, say that there are commands for it. "
    "If you do not know, say so.",
}


class LanguageModel:
    """Asks a chat server. `kind` is its interface; `url` is where it listens."""

    def __init__(
        self,
        url: str,
        *,
        kind: Literal["openai", "ollama"] = "openai",
        model: str = "",
        deadline_s: float = 3.0,
        key: str = "",
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(
                f"{url!r} is not the address of a language model.",
                code="llm.address",
                hint="Write http://127.0.0.1:8080.",
            )
        path = "/api/chat" if kind == "ollama" else "/v1/chat/completions"
        self._url = url.rstrip("/").removesuffix("/v1") + path
        self._kind, self._model, self._deadline_s, self._key = kind, model, deadline_s, key

    async def ask(self, question: str, language: str) -> str:
        """See `ports.OpenQuestions`."""
        if not question.strip():
            raise Invalid("There is no question.", code="llm.empty")
        timeout = aiohttp.ClientTimeout(total=self._deadline_s)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    self._url,
                    json=self._body(question[:QUESTION_CHARS], language),
                    headers=headers,
                    allow_redirects=False,
                ) as reply,
            ):
                raw = await reply.content.read(ANSWER_BYTES)
                if reply.status != 200:
                    raise _away(f"it answered {reply.status}")
        except TimeoutError:
            raise Unavailable(
                f"The language model took over {self._deadline_s:g} s.", code="llm.late"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _away(str(error)) from error
        return self._answer(raw)

    def _body(self, question: str, language: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "messages": [
                {"role": "system", "content": _ASK.get(language, _ASK["pt-BR"])},
                {"role": "user", "content": question},
            ],
            "stream": False,
        }
        if self._model:
            body["model"] = self._model
        if self._kind == "ollama":
            return body | {"think": False, "options": {"num_predict": ANSWER_TOKENS}}
        return body | {"max_tokens": ANSWER_TOKENS, "temperature": 0.3}

    def _answer(self, raw: bytes) -> str:
        try:
            reply = msgspec.json.decode(raw)
            message = reply["message"] if self._kind == "ollama" else reply["choices"][0]["message"]
            text = message["content"]
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, IndexError, TypeError) as error:
            raise _away("its answer cannot be read") from error
        clean = " ".join(_THINKING.sub("", text).split()) if isinstance(text, str) else ""
        if not any(c.isalnum() for c in clean):
            raise _away("it said nothing")
        return shortened(clean)


def shortened(text: str, most: int = ANSWER_CHARS) -> str:
    """Whole sentences of `text`, `most` characters at the utmost."""
    if len(text) <= most:
        return text
    cut = text[:most]
    end = max(cut.rfind(mark) for mark in ".!?")
    return cut[: end + 1] if end > most // 4 else cut.rsplit(" ", 1)[0] + "…"


def _away(why: str) -> Unavailable:
    return Unavailable(
        f"The language model cannot answer: {why}.",
        code="llm.away",
        hint="Start its server, or correct its address in the settings of `voice`.",
    )
