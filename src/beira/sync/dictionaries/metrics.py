"""What the small messages' dictionaries save, for Prometheus."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import Counter

_PLAIN_BYTES = Counter(
    "beira_brief_plain_bytes", "Bytes of small messages before compression.", ["dictionary"]
)
_SENT_BYTES = Counter(
    "beira_brief_compressed_bytes", "Bytes of small messages on the wire.", ["dictionary"]
)
TRIALS = Counter(
    "beira_dictionary_trials",
    "Trainings of a site's dictionary, by what came of them.",
    ["outcome"],
)
TRIAL_BYTES = Counter(
    "beira_dictionary_trial_bytes",
    "Bytes of the messages trials were judged by, with the dictionary in use and with the new one.",
    ["dictionary"],
)


@dataclass(frozen=True)
class Kind:
    """Messages under one kind of dictionary; the counters are looked up once, not for each message."""

    plain: Counter
    sent: Counter


def _kind(name: str) -> Kind:
    return Kind(_PLAIN_BYTES.labels(name), _SENT_BYTES.labels(name))


SHIPPED, SITE = _kind("shipped"), _kind("site")
