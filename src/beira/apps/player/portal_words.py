"""The player's words for people: settings, commands, what was done, and what is wrong."""

from __future__ import annotations

Both = tuple[str, str]

WORDS: dict[str, Both] = {
    "volume": ("Volume", "De 0 a 100"),
    "volume_by_hour": ("Volume por hora", "Outro volume a partir de uma hora, como 20:00=50"),
    "crossfade_ms": ("Passagem entre faixas (ms)", "Quanto uma entra na outra; 0: emendadas"),
    "profile": ("Formato para as lojas", "Como as lojas recebem as músicas"),
    "target_lufs": (
        "Volume igualado (LUFS)",
        "A que volume tudo é trazido (EBU R128); outro valor prepara tudo de novo",
    ),
    "media_url": ("Endereço do cache", "De um cache ou CDN à frente do /media da nuvem"),
    "download_from": ("Baixar a partir das", "O que não tem pressa é baixado a partir desta hora"),
    "download_until": ("Baixar até as", "… até esta; igual à outra: a qualquer hora"),
    "disk_mb": ("Disco para música (MB)", "Quanto do disco do nó a música pode ocupar"),
    "ahead_days": ("Baixar com antecedência (dias)", "O que toca dentro de tantos dias"),
    "silence_s": ("Silêncio tolerado (s)", "Sem som por tanto tempo, o player recomeça"),
    "output": ("Saída de som", "O dispositivo do mpv; vazio: o que ele escolher"),
    "player_play": ("Tocar", "Continua a música pausada."),
    "player_pause": ("Pausar", "Para a música até alguém continuar."),
    "player_skip": ("Pular", "Passa para a próxima."),
    "player_volume": ("Mudar o volume", "De 0 a 100."),
    "player_announce": ("Anunciar", "Fala um texto ou toca um arquivo por cima da música."),
    "player_asset_added": ("Acrescentar à biblioteca", "Um arquivo enviado passa a ser dela."),
    "player_asset_retry": ("Preparar de novo", "Faz de novo os arquivos para as lojas."),
    "player_asset_remove": ("Apagar da biblioteca", "Tira o item da biblioteca e das lojas."),
    "collection.player_assets": ("Item da biblioteca", ""),
    "collection.player_renditions": ("Arquivo para as lojas", ""),
    "collection.player_playlists": ("Playlist", ""),
    "collection.player_slots": ("Horário da grade", ""),
    "collection.player_campaigns": ("Campanha", ""),
    "collection.player_urgent": ("Anúncio urgente", ""),
    "collection.player_now": ("O que toca na loja", ""),
    "collection.player_plays": ("Execução", ""),
    "collection.player_fetches": ("Arquivo baixado", ""),
    "collection.player_silences": ("Silêncio", ""),
}

DONE: dict[str, Both] = {
    "player.retried": ("Na fila de novo.", "In the queue again."),
    "player.recalled": (
        "Recolhida. As lojas ligadas param de tocá-la em segundos.",
        "Recalled. Connected shops stop playing it within seconds.",
    ),
    "player.given_back": ("Devolvida às lojas.", "Given back to the shops."),
    "player.announced": (
        "Anúncio enviado. Abaixo se vê quem já o tocou.",
        "Announcement sent. Below you see who has played it.",
    ),
}

PROBLEMS: dict[str, tuple[Both, Both]] = {
    "player.mpv_missing": (
        ("Falta o mpv nesta máquina.", "mpv is not installed on this machine."),
        ("Instale-o: apt install mpv.", "Install it: apt install mpv."),
    ),
    "player.no_output": (
        ("O som não sai por nenhum dispositivo.", "The sound has no device to go to."),
        (
            "Veja a caixa de som e os cabos, ou escolha a saída em Ajustes.",
            "See the speaker and the cables, or choose the output under Settings.",
        ),
    ),
    "player.mpv_failed": (
        ("O mpv não fica de pé nesta máquina.", "mpv does not stay up on this machine."),
        ("Veja o registro do nó; mpv --version ajuda.", "See the node's log; try mpv --version."),
    ),
}
"""What players say of themselves, by code: what is wrong, and the next step."""

SILENCES: dict[str, Both] = {
    "quiet": ("Nada se ouvia na saída de som", "Nothing was heard at the output"),
}
"""Why nothing was heard, where it is told by a code."""
