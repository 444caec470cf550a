"""Whether a base can be served: it must hold a whole prompt, and the vectors of products that a setting names must be its own."""

from typing import TYPE_CHECKING

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
        SettingError: its context is too short, or vectors of products go with another base or cannot be read.
    """
    _check_positions(lm)
    representations.check_base(settings, lm.base_sha256)


def _check_positions(lm: "LanguageModel") -> None:
    positions = getattr(lm.causal.config, "max_position_embeddings", LEAST_POSITIONS)
    if positions < LEAST_POSITIONS:
        raise SettingError(
            f"STRATAGEM_BASE_MODEL={lm.name!r}: a context of {positions} tokens, at least {LEAST_POSITIONS} wanted: a prompt would not fit"
        )
