"""A base that cannot be served is refused by the name of its setting, before anything is asked of it."""

from pathlib import Path

import msgspec
import pytest

from model.fresh import random_lm
from model.objectives.shapes import SERVED_POSITIONS, config
from model.prompt import RECIPE
from services.base_model import LEAST_POSITIONS, check_base
from services.settings import SettingError, WorkerSettings


def test_a_context_that_no_prompt_fits_into_is_refused() -> None:
    """One token fewer than the base that ships has is too few."""
    lm = random_lm(3, width=32, layers=1)
    check_base(WorkerSettings(), lm)
    lm.causal.config.max_position_embeddings = LEAST_POSITIONS - 1
    with pytest.raises(SettingError, match=r"STRATAGEM_BASE_MODEL=.*: a context of 1023 tokens, at least 1024 wanted"):
        check_base(WorkerSettings(), lm)


@pytest.mark.parametrize("shape", ["llama", "gpt2", "qwen2"])
def test_what_pretraining_makes_has_room_for_a_prompt(shape: str) -> None:
    """However short the rows are that it learns from."""
    made = config(shape, vocabulary=300, width=16, layers=1, length=32, dropout=0.0, scale=0.02, pad=0)
    assert made.max_position_embeddings == SERVED_POSITIONS >= LEAST_POSITIONS


def test_a_base_of_other_prompts_is_refused_by_name(tmp_path: Path) -> None:
    """Its levels would be read as words it never learned; a manifest that says nothing, or none, is no reason."""
    lm, settings = random_lm(3, width=32, layers=1), WorkerSettings()
    lm.name = str(tmp_path)
    check_base(settings, lm)
    for content in ({"recipe": {"prompt": "prompt-1"}}, {"prompt": "prompt-1"}):
        (tmp_path / "manifest.json").write_bytes(msgspec.json.encode(content))
        with pytest.raises(SettingError, match=f"made for prompts written as 'prompt-1', '{RECIPE}' wanted"):
            check_base(settings, lm)
    for content in ({"recipe": {"prompt": RECIPE}}, {"prompt": RECIPE}, {}):
        (tmp_path / "manifest.json").write_bytes(msgspec.json.encode(content))
        check_base(settings, lm)
