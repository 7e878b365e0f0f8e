"""The counter's page in a real browser, its microphone played from a recording."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from beira.apps.voice.records import Person
from tests.unit.voice_engines.shop import BROWSER_ARGS, CHROMIUM, Shop, as_wav, said, shop

playwright = pytest.importorskip("playwright.async_api")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium: tools/system.sh installs it"),
]
AXE = Path(__file__).parents[2] / ".cache" / "assets" / "axe.min.js"
WAIT_MS = 60_000


@asynccontextmanager
async def browser(*more: str) -> AsyncIterator[playwright.Browser]:
    async with playwright.async_playwright() as driver:
        chromium = await driver.chromium.launch(
            executable_path=CHROMIUM, args=[*BROWSER_ARGS, *more]
        )
        yield chromium
        await chromium.close()


@asynccontextmanager
async def on_the_line(made: Shop) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """The page's WebSocket, without the page."""
    url = f"{made.url}/balcao/ws"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as line:
        yield line


@asynccontextmanager
async def counter(
    made: Shop, *more: str, language: str = "pt-BR", width: int = 390
) -> AsyncIterator[playwright.Page]:
    """The page, open and ready; a script that fails fails the test."""
    async with browser(*more) as chromium:
        context = await chromium.new_context(
            locale=language, viewport={"width": width, "height": 844}
        )
        page = await context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(f"{made.url}/balcao")
        await page.wait_for_selector("body[data-state=idle]", timeout=WAIT_MS)
        yield page
        assert errors == []


@pytest.fixture
async def angeloni(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop(tmp_path, served=True) as made:
        yield made


async def fake_microphone(folder: Path, *texts: str) -> list[str]:
    path = folder / "mic.wav"
    path.write_bytes(as_wav(await said(*texts, quiet_s=2.5)))
    return [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={path}%noloop",
    ]


async def test_somebody_taps_speaks_hears_and_confirms(angeloni: Shop, tmp_path: Path) -> None:
    flags = await fake_microphone(
        tmp_path, "registrar entrada do joão silva às oito e quinze da manhã"
    )
    async with counter(angeloni, *flags) as page:
        await page.click("#talk")
        await page.wait_for_selector(".turn.aurora", timeout=WAIT_MS)
        assert "joão" in (await page.inner_text(".turn.you")).lower()
        if await page.is_visible("#choices"):
            await page.click("#choices .yes")
            await page.wait_for_selector(".turn.aurora >> nth=1", timeout=WAIT_MS)
        await page.wait_for_selector("text=Ouvir de novo", timeout=WAIT_MS)
    assert [p["employee"] for p in await angeloni.rows("punches")] == ["João Silva"]
    doors = {t["door"] for t in await angeloni.rows("interactions")}
    assert "browser" in doors and doors <= {"browser", "typed"}


async def test_the_sound_of_the_answer_is_heard(angeloni: Shop) -> None:
    async with counter(angeloni) as page:
        await page.fill("#words", "quanto custa o leite integral")
        await page.press("#words", "Enter")
        await page.wait_for_selector("body[data-state=speaking]", timeout=WAIT_MS)
        await page.wait_for_selector("body[data-state=idle]", timeout=WAIT_MS)
        await page.wait_for_selector("text=/respondeu (em|na hora)/", timeout=WAIT_MS)
    (talk,) = await angeloni.rows("interactions")
    assert talk["latency_ms"] > 0


async def test_space_is_push_to_talk(angeloni: Shop, tmp_path: Path) -> None:
    flags = await fake_microphone(tmp_path, "que horas são")
    async with counter(angeloni, *flags) as page:
        await page.keyboard.down("Space")
        await page.wait_for_selector("body[data-state=listening]", timeout=WAIT_MS)
        await asyncio.sleep(3)
        await page.keyboard.up("Space")
        await page.wait_for_selector(".turn.aurora", timeout=WAIT_MS)
        assert "que horas" in await page.inner_text(".turn.you")


async def test_a_microphone_that_is_refused_is_explained(angeloni: Shop) -> None:
    async with counter(angeloni, "--deny-permission-prompts") as page:
        await page.click("#talk")
        await page.wait_for_selector("#trouble:not([hidden])", timeout=WAIT_MS)
        told = await page.inner_text("#trouble-text")
        assert "microfone" in told.lower()


async def test_the_backlog_and_the_link_are_live(angeloni: Shop) -> None:
    async with counter(angeloni) as page:
        await page.wait_for_selector("#link[data-link=off]", timeout=WAIT_MS)
        before = int(re.sub(r"\D", "", await page.inner_text("#link-text")) or 0)
        await page.fill("#words", "que horas são")
        await page.press("#words", "Enter")
        async with asyncio.timeout(60):
            while int(re.sub(r"\D", "", await page.inner_text("#link-text")) or 0) <= before:
                await asyncio.sleep(0.05)
        angeloni.connected = True
        await page.wait_for_selector("#link[data-link=on]", timeout=WAIT_MS)
        await page.click("#link")
        assert "Importante" in await page.inner_text("#lanes")


async def test_english_by_the_browsers_language_and_by_the_link(angeloni: Shop) -> None:
    async with counter(angeloni, language="en-GB", width=1440) as page:
        assert await page.inner_text("#talk-text") == "Hold and speak"
        assert "Portuguese" in await page.inner_text("#hint")
        await page.fill("#words", "what time is it")
        await page.press("#words", "Enter")
        await page.wait_for_selector(".turn.aurora", timeout=WAIT_MS)
        assert "It is" in await page.inner_text(".turn.aurora p") or re.search(
            r"\d:\d\d", await page.inner_text(".turn.aurora p")
        )
        await page.click("a[hreflang='pt-BR']")
        await page.wait_for_selector("body[data-state=idle]", timeout=WAIT_MS)
        assert await page.inner_text("#talk-text") == "Segure e fale"


async def test_choices_are_pressed_with_keys_alone(angeloni: Shop) -> None:
    await angeloni.put(Person(name="João Souza"))
    async with counter(angeloni) as page:
        await page.fill("#words", "ponto do joão agora")
        await page.press("#words", "Enter")
        await page.wait_for_selector(".choice.option >> nth=1", timeout=WAIT_MS)
        shown = await page.locator("#choices button:visible").all_inner_texts()
        assert shown == ["João Silva", "João Souza", "Cancelar"]
        await page.focus("#talk")
        for _ in range(30):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.textContent") == "João Souza":
                break
        await page.keyboard.press("Enter")
        await page.wait_for_selector("text=/Ponto do João Souza registrado/", timeout=WAIT_MS)
        assert not await page.is_visible("#choices")
    assert [p["employee"] for p in await angeloni.rows("punches")] == ["João Souza"]


async def test_a_long_sale_is_read_back_and_confirmed_with_a_button(angeloni: Shop) -> None:
    async with counter(angeloni) as page:
        await page.fill("#words", "vende dois leites integral, um café torrado e três arroz branco")
        await page.press("#words", "Enter")
        await page.wait_for_selector("#choices .yes:visible", timeout=WAIT_MS)
        asked = (await page.inner_text(".turn.aurora p")).replace("\u00a0", " ")
        assert "por R$ 110,58. Confirma?" in asked
        assert await angeloni.rows("sales") == []
        await page.click("#choices .yes")
        await page.wait_for_selector("text=/Venda registrada/", timeout=WAIT_MS)
    (sale,) = await angeloni.rows("sales")
    assert len(sale["items"]) == 3 and sale["total_cents"] == 11_058


async def test_a_question_that_expired_says_so_and_takes_its_buttons_away(tmp_path: Path) -> None:
    async with shop(tmp_path, served=True, settings={"question_s": 5}) as made:
        async with counter(made) as page:
            await page.fill("#words", "ponto do xoão")
            await page.press("#words", "Enter")
            await page.wait_for_selector("#choices:visible", timeout=WAIT_MS)
            await page.wait_for_selector("text=/Passou o tempo da pergunta/", timeout=WAIT_MS)
            assert not await page.is_visible("#choices")
            await page.fill("#words", "sim")
            await page.press("#words", "Enter")
            await page.wait_for_selector("text=/Passou o tempo daquela pergunta/", timeout=WAIT_MS)
        assert await made.rows("punches") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
async def test_the_page_is_accessible(angeloni: Shop, scheme: str, width: int) -> None:
    if not AXE.exists():
        pytest.skip("no axe-core: tools/assets.py fetches it")
    async with browser() as chromium:
        context = await chromium.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 844}, bypass_csp=True,
            locale="pt-BR",
        )  # fmt: skip
        page = await context.new_page()
        await page.goto(f"{angeloni.url}/balcao")
        await page.wait_for_selector("body[data-state=idle]", timeout=WAIT_MS)
        await page.fill("#words", "quanto custa o leite integral")
        await page.press("#words", "Enter")
        await page.wait_for_selector(".turn.aurora footer:not([hidden])", timeout=WAIT_MS)
        await page.wait_for_selector("body[data-state=idle]", timeout=WAIT_MS)
        await page.fill("#words", "vendi leite")
        await page.press("#words", "Enter")
        await page.wait_for_selector("#choices:visible", timeout=WAIT_MS)
        await page.wait_for_selector(".turn.aurora >> nth=1 >> text=/respondeu/", timeout=WAIT_MS)
        await page.wait_for_selector("body[data-state=idle]", timeout=WAIT_MS)
        await page.add_script_tag(content=AXE.read_text())
        found = await page.evaluate(
            "async () => (await axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa']})).violations"
            ".map(v => v.id + ': ' + v.nodes.map(n => n.target.join(' ')).join(', '))"
        )
        wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert found == []
    assert wide <= 0


async def test_another_web_site_cannot_speak_to_the_node(angeloni: Shop) -> None:
    evil = {"Origin": "https://evil.example"}
    async with aiohttp.ClientSession() as session:
        for path, body in (("say", {"json": {"text": "que horas são"}}), ("wav", {"data": b"x"})):
            async with session.post(f"{angeloni.url}/balcao/{path}", headers=evil, **body) as reply:
                assert reply.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(f"{angeloni.url}/balcao/ws", headers=evil)
    assert await angeloni.rows("interactions") == []


@pytest.mark.parametrize(
    "noise",
    [
        "", "{", "[]", '{"type": 5}', '{"type": "start", "rate": -1}', '{"type": "text"}',
        '{"type": "text", "text": "' + "a" * 301 + '"}', "x" * 5_000, b"\1", bytes(70_000),
        '{"type": "enrol", "action": "eat"}',
    ],
)  # fmt: skip
async def test_noise_on_the_line_is_told_and_ends_nothing(
    angeloni: Shop, noise: str | bytes
) -> None:
    async with on_the_line(angeloni) as line:
        if isinstance(noise, bytes):
            await line.send_json({"type": "start", "rate": 16_000})
            await line.send_bytes(noise)
            await line.send_json({"type": "cancel"})
        else:
            await line.send_str(noise)
        await line.send_json({"type": "text", "text": "que horas são"})
        async with asyncio.timeout(60):
            async for message in line:
                if message.type is aiohttp.WSMsgType.TEXT and message.json()["type"] == "answer":
                    break
            else:
                raise AssertionError("the line ended")


@pytest.mark.timeout(300)
async def test_ten_phrases_teach_a_voice(angeloni: Shop) -> None:
    steps: list[dict[str, object]] = []
    async with on_the_line(angeloni) as line:
        await line.send_json({"type": "enrol", "action": "start"})
        async with asyncio.timeout(280):
            async for message in line:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    continue
                event = message.json()
                if event["type"] != "enrol":
                    continue
                steps.append(event)
                if event["step"] == "done":
                    break
                if event["step"] in ("phrase", "repeat"):
                    pcm = await said(str(event["text"]), quiet_s=0.3)
                    await line.send_json({"type": "start", "rate": 16_000, "mode": "hold"})
                    for at in range(0, len(pcm), 1_600):
                        await line.send_bytes(pcm[at : at + 1_600].astype("<i2").tobytes())
                    await line.send_json({"type": "stop"})
    done = steps[-1]
    assert [s["n"] for s in steps if s["step"] == "phrase"] == list(range(1, 11))
    assert 0 <= int(str(done["before"])) <= int(str(done["after"])) <= 100
    assert await angeloni.rows("interactions") == []
