"""Tokenizers made here: WordPiece for encoders, byte-level BPE for causal models; the same texts give the same words."""

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, CLS, SEP, MASK, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<|end|>"


def wordpiece(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """WordPiece as BERT has it, lower-cased; `[CLS] a [SEP] b [SEP]`."""
    specials = [PAD, UNKNOWN, CLS, SEP, MASK]
    tokenizer = _bert(models.WordPiece({name: at for at, name in enumerate(specials)}, unk_token=UNKNOWN))
    # The trainer numbers inner letters in the order of a hash map, which changes from run to run, and breaks ties by number. Named
    # beforehand they have their numbers; the tokenizer that is returned does not hold them as special.
    letters = sorted(set("".join(tokenizer.normalizer.normalize_str(text) for text in texts)) - {" "})
    named = [*specials, *letters, *(f"##{letter}" for letter in letters)]
    trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=named, show_progress=False)
    tokenizer.train_from_iterator(sorted(set(texts)), trainer)
    made = _bert(models.WordPiece(tokenizer.get_vocab(), unk_token=UNKNOWN))
    marks = [(name, made.token_to_id(name)) for name in (CLS, SEP)]
    made.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}", pair=f"{CLS} $A {SEP} $B:1 {SEP}:1", special_tokens=marks
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers' own lack
        tokenizer_object=made,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=CLS,
        sep_token=SEP,
        mask_token=MASK,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _bert(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def byte_pairs(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE as GPT-2 has it: no text is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[PAD, END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(sorted(set(texts)), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, bos_token=END)  # type: ignore[no-untyped-call]
