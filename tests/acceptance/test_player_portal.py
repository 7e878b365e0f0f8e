"""The director's work in a real browser, over a real cloud: from sending music to the proof of play."""

from __future__ import annotations

import csv
import io
import math
import struct
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from beira.apps.player.records import Asset, Play, Playlist
from beira.host import Host
from beira.identity.tenants import service
from beira.kernel.access import node_partition
from beira.kernel.command import Receipt
from beira.kernel.query import Query, where
from tests.acceptance.player_world import fill, put
from tests.acceptance.support import (  # noqa: F401 - fixtures
    PASSWORD,
    Company,
    company,
    postgres_directory,
    postgres_server,
    until,
)
from tests.acceptance.test_portal_browser import (
    ARGUMENTS,
    AXE,
    CHROMIUM,
    LOOKS,
    SIZES,
    Looks,
    faults,
    meets_wcag,
)
from tests.unit.portal.world import BAD

pytestmark = pytest.mark.browser
PAGES = (
    "/music", "/music/library", "/music/library/track-9", "/music/library/failed",
    "/music/library?q=nada+assim", "/music/playlists", "/music/playlists/sunday", "/music/grid",
    "/music/grid/s2", "/music/campaigns", "/music/campaigns/offers", "/music/campaigns/new",
    "/music/urgent", "/music/plays", "/music/plays?how=each", "/music/plays?how=shops",
    "/music/shops/{node}", "/music/shops/{node}?part=fetches", "/music/shops/{node}?part=silences",
)  # fmt: skip


@dataclass
class Directed:
    """A tenant whose music somebody directs. `nodes` by site."""

    company: Company
    tenant: str
    host: Host
    nodes: dict[str, str]

    @property
    def url(self) -> str:
        return self.company.address

    async def rows(self, collection: str, **chosen: object) -> list[dict[str, object]]:
        question = Query(collection=collection, where=where(**chosen) if chosen else None)
        return (await self.host.store.query(question)).rows


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def directed(company: Company) -> Directed:  # noqa: F811
    tenant = await company.tenant("rede")
    nodes = await fill(company, tenant)
    return Directed(company, tenant, await company.host(tenant), nodes)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium: Browser, directed: Directed) -> AsyncIterator[Page]:
    """The owner's browser; it fails the test if a script fails or a policy is broken."""
    context = await chromium.new_context(locale="pt-BR", timezone_id="America/Sao_Paulo")
    opened = await context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda m: wrong.append(m.text) if "Content Security" in m.text else None)
    opened.on("dialog", lambda dialog: dialog.accept())
    await sign_in(opened, directed, f"owner@{directed.tenant}.example")
    yield opened
    await context.close()
    assert not wrong


async def sign_in(page: Page, directed: Directed, email: str) -> None:
    await page.goto(directed.url + "/sign-in")
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Senha", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Entrar").click()
    await page.get_by_role("heading", name="Hoje").wait_for()


async def done(page: Page, words: str) -> None:
    await page.get_by_role("status").filter(has_text=words).wait_for()


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not here: make assets")
@pytest.mark.parametrize("looks", LOOKS, ids=["some", "all"])
@pytest.mark.parametrize("path", PAGES)
async def test_every_page_meets_wcag_aa(
    page: Page, directed: Directed, path: str, looks: Looks
) -> None:
    answer = await page.goto(directed.url + path.replace("{node}", directed.nodes["centro"]))
    assert answer is not None
    assert answer.status == 200
    await meets_wcag(page, looks)


async def test_a_playlist_is_made_filled_and_put_in_order_by_keyboard(
    page: Page, directed: Directed
) -> None:
    await page.goto(directed.url + "/music/playlists")
    await page.get_by_label("Nova playlist").fill("Noite")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Noite").wait_for()
    await page.get_by_label("Procurar na biblioteca").fill("araújo")
    await page.get_by_role("button", name="Acrescentar: Farol").wait_for()
    for title in ("Farol", "Chuva mansa"):
        await page.get_by_role("button", name=f"Acrescentar: {title}").click()
        await page.locator("#tracks").get_by_text(title).wait_for()
    await page.get_by_label("Procurar na biblioteca").fill("clara nuvem sol")
    await page.get_by_role("button", name="Acrescentar: Sol de inverno").click()
    await page.get_by_text("3 faixas").wait_for()
    await page.get_by_role("button", name="Subir: Sol de inverno").focus()
    await page.keyboard.press("Enter")
    await page.locator("#tracks .track").nth(1).get_by_text("Sol de inverno").wait_for()
    await expect(page.get_by_role("button", name="Subir: Sol de inverno")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.locator("#tracks .track").nth(0).get_by_text("Sol de inverno").wait_for()
    (made,) = await directed.rows("player_playlists", name="Noite")
    assert made["assets"] == ["track-1", "track-9", "track-8"]


async def test_a_track_is_dragged_to_its_place(page: Page, directed: Directed) -> None:
    await page.goto(directed.url + "/music/playlists/spare")
    rows = page.locator("#tracks .track")
    assert await rows.count() == 2
    grip = await rows.nth(0).locator("[data-grip]").bounding_box()
    other = await rows.nth(1).bounding_box()
    assert grip is not None
    assert other is not None
    await page.mouse.move(grip["x"] + 8, grip["y"] + 8)
    await page.mouse.down()
    await page.mouse.move(grip["x"] + 8, other["y"] + other["height"] - 4, steps=6)
    await page.mouse.up()

    async def moved() -> bool:
        (row,) = await directed.rows("player_playlists", id="spare")
        return row["assets"] == ["track-1", "track-0"]

    await until(moved)


async def test_two_directors_do_not_undo_each_other(page: Page, directed: Directed) -> None:
    await page.goto(directed.url + "/music/playlists/calm")
    async with directed.host.writing() as ctx:
        ctx.patch(Playlist, "calm", assets=[f"track-{at}" for at in (3, 2, 1, 0, 4, 5, 6, 7)])
    answer = await page.evaluate(
        """() => fetch('/music/playlists/calm/move', {method: 'POST', body: new URLSearchParams({
           csrf: document.querySelector('[data-csrf]').dataset.csrf, asset: 'track-0', at: '0', to: '4'})
        }).then(answer => answer.status)"""
    )
    assert answer == 409
    (row,) = await directed.rows("player_playlists", id="calm")
    assert row["assets"][0] == "track-3"  # type: ignore[index]


async def test_what_two_directors_add_in_one_moment_is_both_there(
    page: Page, directed: Directed
) -> None:
    """Every answer of the portal reads the list first: eight at once have read the same."""
    await page.goto(directed.url + "/music/playlists/spare")
    (before,) = await directed.rows("player_playlists", id="spare")
    answers = await page.evaluate(
        """() => Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map(at =>
           fetch('/music/playlists/spare/add', {method: 'POST', body: new URLSearchParams({
             csrf: document.querySelector('[data-csrf]').dataset.csrf, part: 'yes', asset: 'track-' + at})
           }).then(answer => answer.status)))"""
    )
    (after,) = await directed.rows("player_playlists", id="spare")
    there = [a for a in after["assets"] if a not in before["assets"]]  # type: ignore[union-attr]
    added = answers.count(200)
    assert set(answers) <= {200, 409} and added >= 2
    assert len(after["assets"]) == len(before["assets"] or ()) + added, there  # type: ignore[arg-type]


async def test_the_grid_shows_who_wins_where_slots_meet(page: Page, directed: Directed) -> None:
    site = f"site:{directed.tenant}-praia"
    await page.set_viewport_size({"width": 1440, "height": 900})
    await page.goto(directed.url + "/music/grid/new")
    await page.get_by_label("Playlist").select_option("Domingo")
    await page.get_by_label("Onde").select_option("Praia Brava")
    await page.get_by_label("Começa").fill("09:00")
    await page.get_by_label("Termina").fill("11:30")
    for day in ("segunda", "terça", "quarta", "quinta", "sexta", "sábado"):
        await page.get_by_label(day).uncheck()
    await page.get_by_role("button", name="Salvar").click()
    await done(page, "Adicionado")
    await page.get_by_role(
        "link", name="Domingo 09:00–10:00 + 1 por baixo: Manhã calma, dom"
    ).wait_for()
    assert f"place={site}" in page.url.replace("%3A", ":")
    await page.goto(directed.url + "/music/grid")
    assert await page.get_by_role("link", name="Domingo 09:00–10:00").count() == 0
    await page.set_viewport_size({"width": 390, "height": 844})
    assert not await page.locator("svg.schedule").is_visible()
    await page.get_by_role("link", name="Manhã calma").first.wait_for()


async def test_a_slot_without_days_is_refused_with_the_reason(
    page: Page, directed: Directed
) -> None:
    await page.goto(directed.url + "/music/grid/new?day=3")
    assert await page.get_by_label("quinta").is_checked()
    await page.get_by_label("quinta").uncheck()
    await page.get_by_role("button", name="Salvar").click()
    await page.get_by_text("Nada foi salvo").wait_for()
    await page.get_by_text("Marque pelo menos um dia.").wait_for()
    await page.get_by_text("Escolha um da lista.").first.wait_for()


async def test_a_campaign_is_made_with_its_spots(page: Page, directed: Directed) -> None:
    await page.goto(directed.url + "/music/campaigns/new")
    await page.get_by_label("Nome").fill("Volta às aulas")
    await page.get_by_label("A cada quantas faixas").fill("0")
    await page.get_by_role("button", name="Criar").click()
    await page.get_by_text("Diga de quantas em quantas, ou as horas.").wait_for()
    await page.get_by_label("Horas certas").fill("10:00, 16h30")
    await page.get_by_role("button", name="Criar").click()
    await page.get_by_text("a campanha não toca nada").wait_for()
    await page.get_by_role("button", name="Acrescentar: Clube de vantagens").click()
    await page.locator("#tracks").get_by_role("link", name="Clube de vantagens").wait_for()
    (made,) = await directed.rows("player_campaigns", name="Volta às aulas")
    assert (made["at"], made["assets"]) == (["10:00", "16:30"], ["spot-2"])
    await page.goto(directed.url + "/music/campaigns")
    await page.get_by_role("button", name="Parar: Volta às aulas").click()
    await page.get_by_role("button", name="Pôr no ar: Volta às aulas").wait_for()


async def test_an_asset_gets_its_windows_and_is_recalled(page: Page, directed: Directed) -> None:
    await page.goto(directed.url + "/music/library/track-3")
    await page.get_by_label("Até", exact=True).fill("2027-01-31T22:00")
    await page.get_by_label("A partir de").fill("2027-02-01T08:00")
    await page.get_by_role("button", name="Salvar").click()
    await page.get_by_text("Termina antes de começar.").wait_for()
    await page.get_by_label("A partir de").fill("")
    await page.get_by_label("Fim da licença").fill("2027-03-31T23:59")
    await page.get_by_role("button", name="Salvar").click()
    await done(page, "Salvo")
    await page.locator("summary", has_text="Recolher").click()
    await page.get_by_role("button", name="Recolher de todas as lojas").click()
    await done(page, "Recolhida")
    (row,) = await directed.rows("player_assets", id="track-3")
    assert (row["valid_until"], row["licence_until"]) == ("2027-01-31T22:00", "2027-03-31T23:59")
    assert row["recalled"] is True
    await page.goto(directed.url + "/music/library?which=recalled")
    await page.get_by_role("link", name="Vento sul").click()
    await page.locator("summary", has_text="Recolher").click()
    await page.get_by_role("button", name="Devolver às lojas").click()
    await done(page, "Devolvida")


async def test_a_lever_sends_a_call_and_shows_what_became_of_it(
    page: Page, directed: Directed
) -> None:
    await page.goto(directed.url + "/music")
    node = directed.nodes["centro"]
    card = page.locator(f"#shop-{node}")
    await card.get_by_role("button", name="Pular").click()
    await card.get_by_text("Pular:").wait_for()
    (call,) = await directed.rows("calls", command="player_skip", _partition=node_partition(node))
    receipt = Receipt(
        id=str(call["id"]), command="player_skip", by=str(call["by"]), door="call", ok=False,
        at=directed.host.now(), code="player.no_output", message="Sem saída de som.", took_ms=3.0,
    )  # fmt: skip
    await put(directed.host, receipt, partition=node_partition(node))
    await card.get_by_text("Sem saída de som.").wait_for()


async def test_an_urgent_announcement_goes_out_once_a_shop_and_tells_who_heard_it(
    page: Page, directed: Directed
) -> None:
    await page.goto(directed.url + "/music/urgent")
    await page.get_by_role("button", name="Anunciar agora").click()
    await page.get_by_text("Marque pelo menos um lugar.").wait_for()
    await page.get_by_role("radio", name="Chamada").check()
    await page.get_by_label("Praia Brava").first.check()
    await page.get_by_label("Centro").first.check()
    await page.get_by_label("Como se chama (opcional)").fill("Fechamos já")
    await page.get_by_role("button", name="Anunciar agora").click()
    await done(page, "Anúncio enviado")
    sent = await directed.rows("player_urgent", title="Fechamos já")
    sites = {f"site:{directed.tenant}-praia", f"site:{directed.tenant}-centro"}
    assert {row["_partition"] for row in sent} == sites
    node = directed.nodes["praia"]
    heard = Play(
        asset="x", title="Fechamos já", kind="announcement", reason="announcement", outcome="whole",
        at=directed.host.now(), played_ms=14_000, duration_ms=14_000, file=str(sent[0]["file"]),
    )  # fmt: skip
    await put(directed.host, heard, partition=node_partition(node))
    await page.locator(".chip.good", has_text="Praia Brava").first.wait_for()


async def test_the_proof_of_play_is_downloaded_whole_and_harmless(
    page: Page, directed: Directed
) -> None:
    title = '=HYPERLINK("http://mau.example";"clique")'
    node, now = directed.nodes["acre"], directed.host.now()
    evil = Play(
        asset="e", title=title, kind="music", reason="scheduled", outcome="whole", at=now,
        played_ms=1500, duration_ms=1500, file="0" * 64, artist="@SOMA(1)",
    )  # fmt: skip
    await put(directed.host, evil, partition=node_partition(node))
    await page.goto(directed.url + f"/music/plays?shop={node}")
    async with page.expect_download() as coming:
        await page.get_by_role("link", name="Baixar planilha").click()
    sheet = (await (await coming.value).path()).read_bytes().decode("utf-8-sig")
    lines = list(csv.reader(io.StringIO(sheet), delimiter=";"))
    plays = await directed.rows("player_plays", _partition=node_partition(node))
    assert len(lines) == len(plays) + 1
    assert lines[0][0] == "data"
    (bad,) = [line for line in lines if "HYPERLINK" in line[4]]
    assert (bad[4][0], bad[5][0], bad[9]) == ("'", "'", "1,5")
    assert bad[2] == "America/Rio_Branco"


async def test_text_of_files_never_runs(page: Page, directed: Directed) -> None:
    bad = Asset(id="bad", title=BAD, artist=BAD, album=BAD, state="failed", problem=BAD)
    await put(directed.host, bad)
    for path in ("/music/library", "/music/library/bad", "/music/playlists/calm"):
        await page.goto(directed.url + path)
        await page.wait_for_timeout(300)
        assert await page.evaluate("() => window.evil") is None
    async with directed.host.writing() as ctx:
        ctx.delete(Asset, "bad")


async def test_another_company_sees_nothing_of_it(chromium: Browser, directed: Directed) -> None:
    other = await directed.company.tenant("outra")
    context = await chromium.new_context(locale="pt-BR")
    opened = await context.new_page()
    await sign_in(opened, directed, f"owner@{other}.example")
    for path in ("/music/library/track-0", "/music/playlists/calm", "/music/grid/s1",
                 "/music/campaigns/offers", f"/music/shops/{directed.nodes['centro']}"):  # fmt: skip
        answer = await opened.goto(directed.url + path)
        assert answer is not None
        assert answer.status == 404, path
    await opened.goto(directed.url + "/music")
    await opened.get_by_text("Envie as primeiras músicas").wait_for()
    await opened.goto(directed.url + "/music/library")
    await opened.get_by_text("A biblioteca está vazia").wait_for()
    if AXE.exists():
        assert await faults(opened) == []
    await context.close()


async def test_a_guest_sees_the_shops_and_no_levers(chromium: Browser, directed: Directed) -> None:
    tenants, email = directed.company.cloud.identity.tenants, f"visita@{directed.tenant}.example"
    invited = await tenants.invite(service(directed.tenant), email, "guest")
    await tenants.accept(invited.code, PASSWORD, name="Visita")
    context = await chromium.new_context(locale="pt-BR")
    opened = await context.new_page()
    await sign_in(opened, directed, email)
    await opened.goto(directed.url + "/music")
    await opened.get_by_text("Manhã no cais").wait_for()
    assert await opened.get_by_role("button", name="Pular").count() == 0
    assert await opened.get_by_role("link", name="Biblioteca").count() == 0
    for path in ("/music/library", "/music/grid", "/music/urgent"):
        answer = await opened.goto(directed.url + path)
        assert answer is not None
        assert answer.status == 403, path
    await context.close()


def tone(path: Path, hertz: int, seconds: float) -> Path:
    """A WAV with a tone that swells, so that its waveform can be told from silence."""
    rate = 44_100
    samples = (
        int(12_000 * math.sin(2 * math.pi * hertz * n / rate) * min(1.0, n / rate))
        for n in range(int(rate * seconds))
    )
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return path


async def test_music_is_sent_made_ready_and_heard(
    page: Page, directed: Directed, tmp_path: Path
) -> None:
    good, bad = tone(tmp_path / "canto_novo.wav", 440, 4), tmp_path / "não é áudio.mp3"
    bad.write_bytes(b"isto nao e musica " * 4_000)
    await page.goto(directed.url + "/music/library")
    await page.locator("#upload-files").set_input_files([good, bad])
    sends = page.locator(".send")
    await sends.filter(has_text="canto_novo").get_by_text("Enviada").wait_for()
    await page.get_by_text("2 de 2 enviados").wait_for()
    found = page.locator(".track", has_text="canto novo")
    await found.get_by_text("Pronta").wait_for(timeout=45_000)
    assert await found.locator("svg.wave").count() == 1
    failed = page.locator(".track", has_text="não é áudio")
    await failed.get_by_text("O arquivo não é um áudio").wait_for(timeout=45_000)
    await failed.get_by_role("button", name="Tentar de novo").click()
    await done(page, "Na fila de novo")
    (row,) = await directed.rows("player_assets", title="canto novo")
    heard = await page.context.request.get(
        f"{directed.url}/player/files/{row['id']}/master", headers={"Range": "bytes=0-99"}
    )
    assert (heard.status, len(await heard.body())) == (206, 100)
    await page.goto(directed.url + "/music/library?q=canto")
    await page.get_by_role("button", name="Ouvir canto novo").click()
    await page.locator('[data-listen][aria-pressed="true"]').wait_for()
    await page.locator("#upload-files").set_input_files([good])
    await page.get_by_text("Já estava na biblioteca: canto novo").wait_for()
    assert len(await directed.rows("player_assets", title="canto novo")) == 1


async def test_sending_goes_on_after_the_link_was_lost(
    page: Page, directed: Directed, tmp_path: Path
) -> None:
    large = tone(tmp_path / "longa.wav", 330, 160)
    cut = True
    sent: list[int] = []

    async def line(route: Route) -> None:
        """The second piece and what follows it do not get through while the link is cut."""
        if route.request.method == "PATCH":
            offset = int(route.request.headers["upload-offset"])
            if offset and cut:
                await route.abort("connectionreset")
                return
            sent.append(offset)
        await route.continue_()

    await page.route("**/storage/v1/upload/resumable/**", line)
    await page.goto(directed.url + "/music/library")
    await page.locator("#upload-files").set_input_files([large])
    await page.get_by_text("Sem ligação; continua sozinho").wait_for(timeout=45_000)
    cut = False
    await page.locator(".send", has_text="longa").get_by_text("Enviada").wait_for(timeout=45_000)
    assert len(sent) == len(set(sent)) > 2, "no piece that had arrived was sent again"
    (row,) = await directed.rows("player_assets", title="longa")
    assert row["master_bytes"] == large.stat().st_size


async def test_the_preview_is_what_the_grid_says(page: Page, directed: Directed) -> None:
    ready = [row for row in await directed.rows("player_assets", title="canto novo")]
    async with directed.host.writing() as ctx:
        ctx.patch(Playlist, "calm", assets=[str(ready[0]["id"])])
    node = directed.nodes["centro"]
    await page.goto(
        directed.url + f"/music/preview?shop={node}&day=2027-03-03&begins=08:00&hours=1"
    )
    await page.get_by_text("É uma previsão").wait_for()
    row = page.locator(".preview-row", has_text="canto novo").first
    said = await row.locator("time").inner_text()
    assert "08:00:00" <= said < "08:02:00", "a spot that is due may come first"
    await row.get_by_text("Manhã calma").wait_for()
    if AXE.exists():
        for width, height in SIZES:
            await page.set_viewport_size({"width": width, "height": height})
            assert await faults(page) == []
