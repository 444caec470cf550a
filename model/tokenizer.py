"""The small base's tokenizer: byte-level BPE of English and Chinese; our own words have one token each."""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from model.placeholders import PLACEHOLDERS
from model.prompt import END, vocabulary

TEACHERS = 64
"""Names for the population of teachers; they follow the prompt in fine-tuning and never in serving."""
TEACHER_NAMES = tuple(f"<t{index}>" for index in range(TEACHERS))
SPECIAL = ("<pad>", "<eos>", *TEACHER_NAMES)

_WORDS = Regex(r" ?[\p{L}\p{M}\p{N}'’]+| ?[^\s\p{L}\p{M}\p{N}'’]+|\s")


def train(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of at most `size` tokens (our own words come on top), the same for the same texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(_WORDS, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ours = (*vocabulary(), *PLACEHOLDERS, END)
    tokenizer.add_tokens([AddedToken(word, normalized=False, special=False) for word in ours])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers' own lack
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106 (a token, not a password)
        eos_token="<eos>",  # noqa: S106
        clean_up_tokenization_spaces=False,
    )


def teacher_token(tokenizer: PreTrainedTokenizerFast, index: int) -> int:
    """The id of the token that names teacher `index`."""
    token = tokenizer.convert_tokens_to_ids(f"<t{index}>")
    assert isinstance(token, int)
    return token
