"""Aurora, a shop's voice assistant: speak at the counter, it acts and answers, with or without a network.

This is the exemplar app: `records` says what is written down; `commands`, `hours`, `requests` and
`reports` what can be done; `rules` decides without touching anything; `language`, `understand` and
`dialogue` turn words into commands, `assistant` joins them to a host. What touches sound is in
`engines` and `recogniser`.
"""

from __future__ import annotations

from beira.apps.voice import commands, hours, reports, requests
from beira.apps.voice.assistant import say_command
from beira.apps.voice.records import (
    CustomerRequest,
    Interaction,
    Person,
    Product,
    Punch,
    PunchCorrection,
    RequestClosing,
    Sale,
    StockMovement,
)
from beira.apps.voice.settings import VoiceSettings
from beira.sdk import App, collection_of, command_of

_HANDLERS = (
    hours.register_punch, hours.correct_punch, hours.cancel_punch, hours.reassign_punch,
    hours.hours_worked, hours.who_is_in, commands.product_price, commands.product_stock,
    commands.product_place, commands.register_product, commands.record_sale, commands.move_stock,
    requests.log_request, requests.open_requests, requests.close_request, reports.daily_summary,
    reports.raise_emergency,
    reports.raise_security_alert, reports.report_failure, reports.tell_help, reports.tell_time,
)  # fmt: skip
_COMMANDS = tuple(command_of(handler) for handler in _HANDLERS)


app = App(
    name="voice",
    title="Aurora",
    collections=tuple(
        collection_of(record)
        for record in (
            Person, Product, StockMovement, Sale, Punch, PunchCorrection, CustomerRequest,
            RequestClosing, Interaction,
        )
    ),
    commands=(*_COMMANDS, command_of(say_command())),
    settings=VoiceSettings,
    edge="beira.apps.voice.edge:edge",
    pages="beira.apps.voice.pages:pages",
    portal_pages="beira.apps.voice.portal_pages:PAGES",
    demo="beira.apps.voice.demo:sample",
    doctor="beira.apps.voice.doctor:diagnose",
)  # fmt: skip
