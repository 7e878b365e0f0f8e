"""Confidence rises with each piece of evidence that should raise it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beira.apps.voice.recogniser.acoustic import AcousticModel
from beira.apps.voice.recogniser.confidence import AGREES, DIFFERS, Calibration, Evidence, overlap

from .conftest import MODEL


def evidence(margin: float = 20, ratio: float = -0.1) -> Evidence:
    return Evidence.of(
        margin=margin, ratios=[ratio, ratio / 2], spoken_s=1.0, trailing=0.0, phones=13,
        misfits=(ratio * 2, ratio * 10),
    )  # fmt: skip


def test_the_shipped_calibration_is_sane(model: AcousticModel) -> None:
    fitted = Calibration.of(model.meta["calibration"])
    assert 0 < fitted.ask < fitted.act < 1
    sure, unsure = fitted.confidence(evidence()), fitted.confidence(evidence(0.5, -2.5))
    assert unsure < fitted.ask < sure


@given(st.floats(0, 59), st.floats(0.1, 10))
def test_law_a_wider_margin_is_surer(margin: float, more: float) -> None:
    by_default = Calibration()
    assert by_default.confidence(evidence(margin)) <= by_default.confidence(evidence(margin + more))


@given(st.lists(st.sampled_from("abc"), max_size=6), st.lists(st.sampled_from("abc"), max_size=6))
def test_law_overlap_is_a_share_and_symmetric(one: list[str], other: list[str]) -> None:
    share = overlap(one, other)
    assert 0 <= share <= 1 and share == pytest.approx(overlap(other, one))
    assert (share == 1) == (one == other and bool(one))


@given(st.floats(0.001, 0.999))
def test_law_agreement_never_lowers_and_disagreement_never_raises(alone: float) -> None:
    fitted = Calibration.of(json.loads((MODEL / "model.json").read_text("utf-8"))["calibration"])
    assert fitted.judged(alone, "") == alone
    assert alone <= fitted.judged(alone, AGREES) < 1
    assert 0 < fitted.judged(alone, DIFFERS) <= alone


@given(st.floats(0.001, 0.999))
def test_law_what_is_disputed_is_asked_back(alone: float) -> None:
    fitted = Calibration.of(json.loads((MODEL / "model.json").read_text("utf-8"))["calibration"])
    if fitted.uncertain(alone):
        assert fitted.ask <= fitted.judged(alone, DIFFERS) < fitted.act


def test_the_shipped_opinion_counts(model: AcousticModel) -> None:
    fitted = Calibration.of(model.meta["calibration"])
    assert fitted.ask < fitted.act <= fitted.second.most < 1
    assert fitted.judged(0.8, DIFFERS) < 0.8 < fitted.judged(0.8, AGREES)
    assert not fitted.uncertain(fitted.second.most) and not fitted.uncertain(fitted.ask - 0.01)
