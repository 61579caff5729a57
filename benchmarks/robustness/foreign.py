"""Small tokenizers of the kinds that models of Hugging Face's have, as clearformer imports them."""

import json
from collections.abc import Callable, Sequence

from charsmap import compiled
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

from clearformer.data.imported import ImportedTokenizer

TEXT = [
    "the quick brown fox jumps over the lazy dog, and the dog's asleep.\n",
    "It isn't 1234 of 56 cafés! 日本語 naïve — x² \u3000 I'll we've\n\n",
    "the  dog   runs\tand\r\nthe fox sleeps. ÅNGSTRÖM über alles?\n",
] * 3
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
REPLACED = {
    "ﬁ": "fi", "①": "1", "Ａ": "A", "½": "1⁄2", "™": "TM", "\u212b": "Å", "ｶ": "カ", "ｶﾞ": "ガ", "e\u0301": "é",
    "ﷺ": "صلى الله عليه وسلم", "\u0958": "क\u093c", "\u1161": "ᅡ", "\u0600": "#", "\u0301": "\u0300",
    "\t": " ", "\n": " ", "\r": " ", "\u00a0": " ", "\u3000": " ", "\u200b": "", "\u200c": "", "\u00ad": "",
}  # fmt: skip
"""a few of the replacements of T5's table, which has 300 kB, and some more that tell clusters apart"""
TABLE = compiled(REPLACED)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_pairs(
    prefix: bool = False,
    pattern: str = "",
    size: int = 330,
    special: Sequence[str | AddedToken] = ("<|endoftext|>",),
    normalizer: normalizers.Normalizer | None = None,
) -> Backend:
    """Like GPT-2's, or with a pattern like Llama 3's; special tokens come last."""
    backend = Backend(models.BPE())
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    by_byte = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=not pattern)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, by_byte]) if pattern else by_byte
    backend.decoder = decoders.ByteLevel()
    if normalizer:
        backend.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(TEXT, trainer)
    backend.add_special_tokens(list(special))
    return backend


def qwen() -> Backend:
    """Like that of Qwen2 and Qwen3, some of whose added tokens are no special ones."""
    backend = byte_pairs(pattern=QWEN2, normalizer=normalizers.NFC())
    backend.post_processor = processors.ByteLevel(trim_offsets=False, use_regex=False)
    backend.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    backend.add_tokens([AddedToken("<think>", normalized=False), AddedToken("<é>", normalized=True)])
    return backend


def roberta() -> Backend:
    """Byte pairs whose <mask> takes the space before it, with tokens around a text."""
    hole = AddedToken("<mask>", lstrip=True, special=True)
    names: list[str | AddedToken] = ["<s>", "<pad>", "</s>", "<unk>", hole]
    backend = byte_pairs(special=names)
    ids = backend.get_vocab()
    backend.post_processor = processors.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"]))
    return backend


def word_pieces(lowercase: bool = True) -> Backend:
    """Like BERT's."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=special, show_progress=False)
    backend.train_from_iterator(TEXT, trainer)
    around = [(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    return backend


def sentence_pairs(metaspace: bool = False, fallback: bool = True) -> Backend:
    """Like Llama's: byte pairs over characters, where bytes stand for those that the vocabulary lacks."""
    special = ["<unk>", "<s>", "</s>"]
    marked = [line.replace(" ", "▁") for line in TEXT]
    trained = Backend(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=special, limit_alphabet=40, show_progress=False)
    trained.train_from_iterator(marked, trainer)
    file = trained.get_vocab()
    names = special + (BYTES if fallback else []) + sorted(set(file) - set(special), key=file.__getitem__)
    merges = [(left, right) for left, right in json.loads(trained.to_str())["model"]["merges"]]
    vocabulary = {name: index for index, name in enumerate(names)}
    backend = Backend(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=fallback))
    if metaspace:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(parts)
    backend.add_special_tokens(special)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return backend


def unigrams(words: bool = False, normalizer: normalizers.Normalizer | None = None) -> Backend:
    """Like Marian's, or, over words, like T5's."""
    special = ["</s>", "<unk>", "<pad>"]
    backend = Backend(models.Unigram())
    if normalizer:
        backend.normalizer = normalizer
    metaspace = pre_tokenizers.Metaspace()
    parts = [pre_tokenizers.WhitespaceSplit(), metaspace]
    backend.pre_tokenizer = pre_tokenizers.Sequence(parts) if words else metaspace
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(TEXT, trainer)
    return backend


def sentences(words: bool = False, masked: bool = False) -> Backend:
    """Like those that transformers makes of SentencePiece's models: mT5's, or, over words, XLM-R's and T5's own."""
    table, rest = normalizers.Precompiled(TABLE), [normalizers.Strip(left=False), normalizers.Replace(ROW, "▁")]
    backend = unigrams(words, table if words else normalizers.Sequence([table, *rest]))
    if masked:
        backend.add_special_tokens(["<s>", AddedToken("<mask>", lstrip=True, special=True)])
        around = [(name, backend.token_to_id(name)) for name in ("<s>", "</s>")]
        backend.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=around)
        return backend
    backend.add_special_tokens([f"<extra_id_{number}>" for number in range(3)])
    ends = [("</s>", backend.token_to_id("</s>"))]
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=ends)
    return backend


ROW = Regex(" {2,}")
"""of spaces"""
END = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<|endoftext|>")
SENTENCES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
MASKED = SENTENCES | {"pad_token": "<pad>", "mask_token": "<mask>"}
MARIAN = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
BERT = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[CLS]", "eos_token": "[SEP]", "mask_token": "[MASK]"}
KINDS: dict[str, tuple[Callable[[], Backend], dict[str, str]]] = {
    "GPT-2": (byte_pairs, END),
    "GPT-2, a space before": (lambda: byte_pairs(prefix=True), END),
    "RoBERTa": (roberta, MASKED),
    "Llama 3": (lambda: byte_pairs(pattern=LLAMA3), END),
    "Qwen2": (qwen, END),
    "BERT": (word_pieces, BERT),
    "BERT, cased": (lambda: word_pieces(lowercase=False), BERT),
    "Llama": (sentence_pairs, SENTENCES),
    "Llama, Metaspace": (lambda: sentence_pairs(metaspace=True), SENTENCES),
    "Llama, without bytes": (lambda: sentence_pairs(fallback=False), SENTENCES),
    "Marian": (unigrams, MARIAN),
    "Marian, NFD": (lambda: unigrams(normalizer=normalizers.NFD()), MARIAN),
    "T5": (lambda: sentences(words=True), MARIAN),
    "mT5": (sentences, MARIAN),
    "XLM-R": (lambda: sentences(words=True, masked=True), MASKED),
}
SPARE = 3
"""rows of the embedding that are no token's"""


def imported(kind: str) -> ImportedTokenizer:
    make, names = KINDS[kind]
    backend = make()
    return ImportedTokenizer(backend, names, backend.get_vocab_size() + SPARE)
