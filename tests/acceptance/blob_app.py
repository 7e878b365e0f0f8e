"""An app with files, for the stories of blobs; found by entry point like anyone's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from beira.kernel.app import Catalogue, catalogue
from beira.sdk import DOWN, TENANT, UP, App, Blob, Fact, State, collection, collection_of


@collection("recordings", flow=UP)
class Recording(Fact):
    """What a shop recorded."""

    audio: Annotated[str, Blob]


@collection("films", flow=DOWN, partition=TENANT, write=("owner",))
class Film(State):
    """What all shops show."""

    title: str
    file: Annotated[str, Blob] = ""


app = App(
    name="films",
    title="Films",
    collections=(collection_of(Recording), collection_of(Film)),
)
ROOT = Path(__file__).parents[2]


def alone(only: tuple[str, ...] = ()) -> Catalogue:
    return catalogue([app])


def installed_in(folder: Path) -> str:
    """Make it an installed package for a program of its own; the PYTHONPATH that has it."""
    about = folder / "films-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: films\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[beira.apps]\nfilms = tests.acceptance.blob_app:app\n")
    return f"{folder}:{ROOT}:{ROOT / 'src'}"
