"""Whether a base can be served: it must know prompts as they are written and hold a whole one, and vectors of products must be its own."""

from pathlib import Path
from typing import TYPE_CHECKING

from model.manifest import prompt_of
from model.prompt import RECIPE
from services import representations
from services.settings import SettingError
from services.settings_common import Common

if TYPE_CHECKING:
    from model.lm import LanguageModel

LEAST_POSITIONS = 1024
"""What the base that ships has: a prompt with every candidate fits."""


def check_base(settings: Common, lm: "LanguageModel") -> None:
    """See that the base that was loaded can answer.

    Raises:
        SettingError: it was made for prompts of another spelling, its context is too short, or vectors of products go with another base or cannot be read.
    """
    _check_prompt(lm.name)
    _check_positions(lm)
    representations.check_base(settings, lm.base_sha256)


def _check_prompt(base: str) -> None:
    written = prompt_of(Path(base))
    if written not in ("", RECIPE):
        raise SettingError(
            f"STRATAGEM_BASE_MODEL={base!r}: made for prompts written as {written!r}, {RECIPE!r} wanted: make it anew with this release"
        )


def _check_positions(lm: "LanguageModel") -> None:
    positions = getattr(lm.causal.config, "max_position_embeddings", LEAST_POSITIONS)
    if positions < LEAST_POSITIONS:
        raise SettingError(
            f"STRATAGEM_BASE_MODEL={lm.name!r}: a context of {positions} tokens, at least {LEAST_POSITIONS} wanted: a prompt would not fit"
        )
