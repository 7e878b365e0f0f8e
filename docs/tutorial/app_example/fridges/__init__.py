"""The temperatures of a shop's fridges, and an alert when one is too warm."""

from beira.sdk import App, collection_of, command_of

from .commands import FridgeSettings, last_temperature, note_temperature
from .records import Temperature

app = App(
    name="fridges",
    title="Geladeiras",
    collections=(collection_of(Temperature),),
    commands=(command_of(note_temperature), command_of(last_temperature)),
    settings=FridgeSettings,
)
