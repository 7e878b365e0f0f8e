"""What is written down: one fact for each time somebody looked at a fridge."""

from datetime import datetime
from typing import Annotated

from beira.sdk import NORMAL, SITE, UP, Fact, Personal, collection


@collection("temperatures", flow=UP, lane=NORMAL, partition=SITE, write=())
class Temperature(Fact):
    """A temperature somebody read off a fridge."""

    fridge: str
    celsius: float
    at: datetime
    read_by: Annotated[str, Personal] = ""
