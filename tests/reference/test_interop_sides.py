"""Translators as Helsinki publishes them, with source.spm and target.spm, become runs, and such folders again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from folders import (
    CONTEXT,
    ENGINES,
    SENTENCES,
    TEXT,
    assert_refused,
    assert_same_logits,
    edited_config,
    imported,
    train_further,
    with_tensor,
)
from spm import CONTROL, GERMAN, UNUSED, USER_DEFINED, field, helsinki, pieces_of, spm, vocabulary

from clearformer.api.run import Run
from clearformer.cli.main import main
from clearformer.config import TransformerConfig
from clearformer.data.sides import SPM_FILES, SidedTokenizer
from clearformer.interop.sentence_pieces import read_pieces

IDS = vocabulary()
PAD, UNK = "<pad>", "<unk>"
TEXTS = [
    *SENTENCES, GERMAN, "The  quick brown fox ", " the dog", ">>deu<< the dog", ">>deu<<the dog", ">>nld<< the dog", "",
    "12 dogs", "schläft ää", "the dog sleeps, der Hund weiter.", "日本 dog", "a >>deu<< b", "dog</s>dog",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "helsinki"
    helsinki(folder)
    return folder


def tokenizer_of(run: Run) -> SidedTokenizer:
    assert isinstance(run.tokenizer, SidedTokenizer)
    return run.tokenizer


def numbers_of(run: Run) -> np.ndarray:
    """The number that each of our tokens has in the folder; -1 of <bos>, which it lacks."""
    texts = [tokenizer_of(run).text_of(index) for index in range(run.config.model.vocab_size)]
    return np.array([IDS.get(text, -1) for text in texts])


@pytest.mark.parametrize(
    ("side", "text", "expected"),
    [
        ("source", "The fox sl", ["▁The", "▁fox", "▁", "s", "l"]),
        ("target", "Der Fuchs sl", ["▁Der", "▁Fuchs", "▁", "s", "l"]),
        ("source", "  The   fox ", ["▁The", "▁fox"]),
        ("source", "der", ["▁", "d", "e", "r"]),  # ▁der is a piece of the other side alone
        ("source", "dä Äd", ["▁", "d", "ä", "▁", "Ä", "d"]),  # unknown to this side, but tokens
        ("source", "dää", ["▁", "d", UNK]),  # what is unknown side by side is one piece, and ää is no token
        ("source", "dog sleeps sleeps ä", ["▁dog", UNK, UNK, "▁", "ä"]),  # ▁sleeps is a piece, but no token
        ("source", ">>deu<<  dog", [">>deu<<", "▁dog"]),
        ("target", ">>deu<<Fell", [">>deu<<", "▁", "F", "e", "l", "l"]),
        ("source", ">>nld<< dog", [UNK, "▁dog"]),
        ("source", "dog>>", ["▁dog", UNK]),
        ("source", "dog</s>dog", ["▁dog", "</s>", "▁dog"]),
    ],
)
def test_pieces_are_those_of_their_side_and_what_is_no_token_is_unknown(side, text, expected, whole, tmp_path, capsys):
    both = tokenizer_of(imported(whole, tmp_path / "run", capsys))
    tokenizer = both if side == "source" else both.target
    assert [tokenizer.text_of(index) for index in tokenizer.encode(text)] == expected


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")  # with it, ids are the same: nothing calls it
def test_ids_are_those_of_transformers_tokenizer(whole, tmp_path, capsys):
    pytest.importorskip("sentencepiece", reason="transformers reads .spm files with it; CI does not install it")
    theirs = transformers.AutoTokenizer.from_pretrained(whole)
    run = imported(whole, tmp_path / "run", capsys)
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "back"), "--to", "hf"]) == 0
    back = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    assert type(back) is type(theirs) is transformers.MarianTokenizer
    both, numbers = tokenizer_of(run), numbers_of(run)
    for text in TEXTS:
        source, target = both.encode(text), both.target.encode(text)
        assert [*numbers[source], 0] == theirs(text)["input_ids"], text
        assert [*numbers[target], 0] == theirs(text_target=text)["input_ids"], text
        assert [*source, both.special.eos] == back(text)["input_ids"], text
        assert [*target, both.special.eos] == back(text_target=text)["input_ids"], text


def test_a_translator_with_a_bias_of_its_logits_has_the_same_in_every_engine_and_returns(tmp_path, capsys):
    model = helsinki(tmp_path / "theirs")
    run = imported(tmp_path / "theirs", tmp_path / "run", capsys)
    numbers = numbers_of(run)
    assert sorted(numbers) == [-1, *IDS.values()]
    for engine in ENGINES:
        assert_same_logits(run, model, numbers, engine)
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "back"), "--to", "hf"]) == 0
    back = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "back").eval()
    there = numbers >= 0
    assert torch.equal(back.final_logits_bias[0][there], model.final_logits_bias[0][numbers[there]])
    for name in SPM_FILES:
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()
    again = imported(tmp_path / "back", tmp_path / "again", capsys)
    assert_same_logits(again, back, np.arange(len(numbers)))
    both, other = tokenizer_of(run), tokenizer_of(again)
    for text in TEXTS:
        assert both.encode(text) == other.encode(text)
        assert both.target.encode(text) == other.target.encode(text)


def test_greedy_translations_are_the_same_in_both_directions(tmp_path, capsys):
    model = helsinki(tmp_path / "theirs")
    run = imported(tmp_path / "theirs", tmp_path / "run", capsys)
    both, numbers, texts = tokenizer_of(run), numbers_of(run), list(IDS)
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "back"), "--to", "hf"]) == 0
    back = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "back").eval()
    sources = [*SENTENCES, ">>deu<< the dog"]
    ours = run.translate(sources, beam=1)
    assert len(set(ours)) > 1
    for text, found in zip(sources, ours, strict=True):
        ids = torch.tensor([[*numbers[both.encode(text)], 0]])
        greedy: dict[str, Any] = {"do_sample": False, "num_beams": 1, "max_new_tokens": CONTEXT}
        never = [IDS[PAD], IDS[UNK]]
        written = model.generate(ids, suppress_tokens=never, **greedy)[0].tolist()[1:]
        assert "".join(texts[index] for index in written if index).replace("▁", " ").removeprefix(" ") == found
        again = back.generate(torch.tensor([[*both.encode(text), both.special.eos]]), **greedy)[0]
        assert both.decode(again.tolist()) == found


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def rewritten(name: str, content: bytes | str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def with_settings(**changes: Any) -> Callable[[Path], None]:
    return rewritten("tokenizer_config.json", json.dumps(changes))


ENGLISH, OTHER = pieces_of(TEXT), pieces_of(GERMAN)
BROKEN: dict[str, tuple[Any, str]] = {
    "no target": (removed("target.spm"), "found no target.spm; download the whole folder again"),
    "no vocabulary": (removed("vocab.json"), "found no vocab.json; download the whole folder again"),
    "no weights but pickled ones": (removed("model.safetensors"), "found pytorch_model.bin, and unpickling can run"),
    "fewer tokens": (rewritten("vocab.json", json.dumps({"</s>": 0, "<unk>": 1, "<pad>": 2})), "found 3; use the"),
    "an id twice": (rewritten("vocab.json", json.dumps(IDS | {"▁": 0})), "tokens with ids from 0 on were expected"),
    "a vocabulary that is no JSON": (rewritten("vocab.json", "{"), "tokens and their ids were expected in"),
    "no unknown token": (
        rewritten("vocab.json", json.dumps({text.replace("<unk>", "?"): index for text, index in IDS.items()})),
        "the special token '<unk>' was expected in",
    ),
    "a file cut in two": (rewritten("source.spm", spm(ENGLISH)[:-40]), "source.spm, but it ends in the middle"),
    "a file of zeros": (rewritten("source.spm", bytes(50)), "a file of SentencePiece's was expected in"),
    "an empty file": (rewritten("target.spm", b""), "target.spm, but it has no pieces with finite scores"),
    "a picture": (
        rewritten("target.spm", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        "a file of SentencePiece's was expected in",
    ),
    "a piece without text": (rewritten("target.spm", field(1, field(2, -1.0))), "a file of SentencePiece's was expect"),
    "byte pairs": (rewritten("source.spm", spm(ENGLISH, field(2, field(3, 2)))), "model_type 1 was expected in"),
    "spaces that are kept": (
        rewritten("source.spm", spm(ENGLISH, field(3, field(4, 0)))),
        "remove_extra_whitespaces 1 was expected in",
    ),
    "a user's own piece": (
        rewritten("source.spm", spm(ENGLISH, types={"▁dog": USER_DEFINED})),
        "found the type 4 of the piece '▁dog'; no tokenizer of clearformer does that",
    ),
    "two vocabularies": (with_settings(separate_vocabs=True), "no separate_vocabs was expected in"),
    "sampled pieces": (with_settings(sp_model_kwargs={"enable_sampling": True}), "no sp_model_kwargs was expected in"),
    "a bias of infinity": (
        with_tensor("final_logits_bias", lambda tensors: tensors["final_logits_bias"] / 0.0),
        "finite numbers were expected in final_logits_bias",
    ),
    "a bias of other tokens": (
        with_tensor("final_logits_bias", lambda tensors: tensors["final_logits_bias"][:, 1:]),
        "of final_logits_bias was expected by config.json",
    ),
    "another vocabulary of the decoder": (edited_config(decoder_vocab_size=9), "decoder_vocab_size of the same size"),
}


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_missing_damaged_or_not_read_is_named_in_one_sentence(broken, whole, tmp_path, capsys):
    assert assert_refused(whole, *BROKEN[broken], tmp_path, capsys) == 2


def test_a_bias_of_zeros_is_left_out(tmp_path, capsys):
    helsinki(tmp_path / "theirs")
    with_tensor("final_logits_bias", lambda tensors: 0 * tensors["final_logits_bias"])(tmp_path / "theirs")
    run = imported(tmp_path / "theirs", tmp_path / "run", capsys)
    assert isinstance(run.config.model, TransformerConfig)
    assert not run.config.model.output_bias


def test_pieces_that_are_no_text_are_none_and_a_table_of_characters_is_read(tmp_path):
    types = {"▁dog": CONTROL, "▁fox": UNUSED}
    (tmp_path / "x.spm").write_bytes(spm(ENGLISH, field(3, field(1, "nmt_nfkc") + field(2, b"abc")), types=types))
    found = read_pieces(tmp_path / "x.spm")
    assert found.scores == {text: score for text, score in ENGLISH.items() if text not in types}
    assert found.charsmap == b"abc"


@pytest.mark.slow
def test_an_imported_translator_is_checked_drawn_and_trained_further(tmp_path, capsys):
    helsinki(tmp_path / "theirs", activation_function="relu")
    run = str(imported(tmp_path / "theirs", tmp_path / "run", capsys).folder)
    assert main(["check", run]) == 0
    assert main(["draw", run, "the quick dog", "--out", str(tmp_path / "heads.svg")]) == 0
    losses = train_further(run, tmp_path)
    assert losses[-1] < losses[0]
    further = tmp_path / "further"
    for name in (*SPM_FILES, "target_tokenizer.json"):
        assert (further / name).read_bytes() == (Path(run) / name).read_bytes()
    assert main(["export", str(further), str(tmp_path / "hf"), "--to", "hf"]) == 0
