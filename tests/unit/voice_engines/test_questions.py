"""Open questions: real chat servers, and the deadline after which the built-in answer is given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from beira.apps.voice.engines.language_model import ANSWER_CHARS, LanguageModel, shortened
from beira.sdk import BeiraError, Unavailable

Answering = Callable[[dict[str, Any]], Any]


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """A chat server; the test sets what it answers, and reads what it was asked."""
    state: dict[str, Any] = {"asked": [], "answer": "", "status": 200, "wait": 0.0, "raw": None}

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        state["asked"].append((request.path, dict(request.headers), body))
        await asyncio.sleep(state["wait"])
        message = {"role": "assistant", "content": state["answer"]}
        reply = (
            {"message": message, "done": True}
            if request.path == "/api/chat"
            else {"choices": [{"index": 0, "message": message}]}
        )
        raw = state["raw"] if state["raw"] is not None else json.dumps(reply).encode()
        return web.Response(body=raw, status=state["status"], content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/api/chat", chat)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}", state
    await runner.cleanup()


@pytest.mark.parametrize(
    ("kind", "path"), [("openai", "/v1/chat/completions"), ("ollama", "/api/chat")]
)
async def test_both_interfaces_answer(server: Any, kind: Any, path: str) -> None:
    url, state = server
    state["answer"] = "<think>Hmm, terça…</think>  Terça-feira.\n"
    model = LanguageModel(url + "/v1", kind=kind, model="m", key="k")
    assert await model.ask("Que dia vem depois de segunda?", "pt-BR") == "Terça-feira."
    asked_path, headers, body = state["asked"][0]
    assert asked_path == path
    assert headers["Authorization"] == "Bearer k"
    assert body["messages"][1]["content"] == "Que dia vem depois de segunda?"
    assert "português" in body["messages"][0]["content"]


async def test_after_the_deadline_there_is_no_answer(server: Any) -> None:
    url, state = server
    state.update(answer="tarde demais", wait=5.0)
    with pytest.raises(Unavailable) as late:
        await LanguageModel(url, deadline_s=0.1).ask("E aí?", "pt-BR")
    assert late.value.code == "llm.late"


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": 500},
        {"status": 302},
        {"raw": b"<html>"},
        {"raw": b"{}"},
        {"raw": b'{"choices": []}'},
        {"raw": b'{"choices": [{"message": {"content": 5}}]}'},
        {"answer": "  "},
        {"answer": "<think>nunca acaba"},
        {"raw": b"\xff\xfe"},
    ],
)
async def test_a_server_that_talks_nonsense_is_away(server: Any, wrong: dict[str, Any]) -> None:
    url, state = server
    state.update(wrong)
    with pytest.raises(Unavailable) as away:
        await LanguageModel(url).ask("E aí?", "pt-BR")
    assert away.value.code == "llm.away"
    assert away.value.hint


async def test_no_server_is_away() -> None:
    with pytest.raises(Unavailable):
        await LanguageModel("http://127.0.0.1:1").ask("E aí?", "pt-BR")


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "file:///etc/passwd", "ftp://x"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(BeiraError) as refused:
        LanguageModel(url)
    assert refused.value.code == "llm.address"


def test_a_long_answer_ends_with_a_whole_sentence() -> None:
    long = "Primeira frase. " * 60
    assert len(shortened(long)) <= ANSWER_CHARS
    assert shortened(long).endswith("frase.")


async def test_llama_cpp_with_a_model_made_here(tmp_path: Path) -> None:
    """A real llama.cpp server: a model of random numbers says nonsense, by the real path."""
    xllamacpp = pytest.importorskip("xllamacpp")
    from .tiny_models import tiny_gguf

    path = tiny_gguf(tmp_path / "tiny.gguf")
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 512
    params.n_parallel = 1
    params.warmup = False
    params.port = 0
    params.hostnames = ["127.0.0.1"]
    server = await asyncio.to_thread(xllamacpp.Server, params)
    url = str(server.listening_address)
    model = LanguageModel(url if url.startswith("http") else f"http://{url}", deadline_s=30)
    try:
        assert await model.ask("Que dia é hoje?", "pt-BR")
    except Unavailable as error:
        assert error.message.endswith("it said nothing.")  # nonsense may be all signs
