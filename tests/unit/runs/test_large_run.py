"""A text that is too large to be held gives the run that it gives in memory, and its tokens survive what happens."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clearformer.config import BERTConfig, Config
from clearformer.data import pieces
from clearformer.data.corpora import LargeCorpus, TextCorpus
from clearformer.data.large import survey
from clearformer.data.tokenizers import Tokenizer
from clearformer.errors import RunError
from clearformer.evaluation.predictions import baseline_scores
from clearformer.inspection.samples import prompts
from clearformer.runs import tokens
from clearformer.runs.folder import RunFolder, create_folder, open_folder

KILLED = Path(__file__).with_name("killed.py")
ALWAYS = 0
"""bytes above which a text is large"""
BERT = BERTConfig(vocab_size=300, context=16, d_model=8, num_heads=2, num_layers=1, d_ff=16)


def read_files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("tokens.json", "train.bin", "validation.bin")}


def arrays(batch: object) -> list[list[list[int]]]:
    return [array.tolist() for array in vars(batch).values()]


@pytest.fixture
def make_large(config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[RunFolder, list[str]]]:
    """`make_large("name", model=...)`: a new run of text that is taken for large, read 64 bytes at a time."""

    def make(name: str, **changes: object) -> tuple[RunFolder, list[str]]:
        notices: list[str] = []
        changed = dataclasses.replace(config("gpt"), **changes)
        with monkeypatch.context() as patched:
            patched.setattr("clearformer.data.load.LARGE", ALWAYS)
            patched.setattr("clearformer.data.pieces.BLOCK", 64)
            return create_folder(tmp_path / name, changed, notices.append), notices

    return make


@pytest.mark.parametrize("model", [None, BERT], ids=["gpt", "bert"])
@pytest.mark.parametrize("tokenizer", ["character", "bpe", "word"])
def test_a_large_text_is_split_hashed_and_encoded_as_in_memory(
    make_large, config: Callable[..., Config], tmp_path: Path, tokenizer: str, model: BERTConfig | None
):
    model = dataclasses.replace(model or config("gpt").model, vocab_size=300)
    whole = create_folder(
        tmp_path / "whole", dataclasses.replace(config("gpt"), tokenizer=tokenizer, model=model), lambda _: None
    )
    large, _ = make_large("large", tokenizer=tokenizer, model=model)
    assert isinstance(whole.corpus, TextCorpus)
    assert isinstance(large.corpus, LargeCorpus)
    found, expected = (json.loads((run.folder / "data.json").read_text()) for run in (large, whole))
    assert found == expected | {"streamed": True}
    for split in ("train", "validation"):
        some, other = large.batches(split), whole.batches(split)
        assert some.tokens.dtype == np.uint16
        assert some.tokens.tolist() == other.tokens.tolist()
        assert all(arrays(some.batch(step)) == arrays(other.batch(step)) for step in range(20))
        assert list(map(arrays, some.in_order())) == list(map(arrays, other.in_order()))


def test_baselines_and_samples_of_a_large_text_are_those_of_the_text_in_memory(
    make_large, config: Callable[..., Config], tmp_path: Path
):
    whole = create_folder(tmp_path / "whole", dataclasses.replace(config("gpt"), model=BERT), lambda _: None)
    large, _ = make_large("large", model=BERT)
    assert baseline_scores(large, large.batches("validation")) == baseline_scores(whole, whole.batches("validation"))
    assert prompts(large) == prompts(whole) != []


def test_a_run_of_a_large_text_trains_to_the_bit_as_in_memory(make_large, make_run, resume, outcome):
    large, _ = make_large("large")
    whole = make_run("gpt", "whole")
    resume(large.folder, stop=4)
    for run in (large, whole):
        resume(run.folder)
    assert outcome(large.folder) == outcome(whole.folder)


def test_the_text_is_not_needed_again_once_it_is_encoded(make_large):
    run, _ = make_large("large")
    Path(run.config.data[0]).unlink()
    opened = open_folder(run.folder, pytest.fail)
    assert opened.batches("train").tokens.tolist() == run.batches("train").tokens.tolist()


def test_damaged_or_half_written_tokens_are_made_anew(make_large):
    run, _ = make_large("large")
    folder = run.folder / "tokens"
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(kept) == ["tokens.json", "train.bin", "validation.bin"]
    flipped = bytes([kept["train.bin"][0] ^ 1]) + kept["train.bin"][1:]
    for name, content in {"train.bin": flipped, "validation.bin": b"\0", "tokens.json": b"{"}.items():
        (folder / name).write_bytes(content)
        open_folder(run.folder, pytest.fail).batches("train")
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept
    for name in kept:
        (folder / name).unlink()
    open_folder(run.folder, pytest.fail).batches("train")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == kept


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_moment_of_encoding_costs_at_most_a_batch(
    make_large, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, _ = make_large("large")
    whole = read_files(run.folder / "tokens")
    for path in (run.folder / "tokens").iterdir():
        path.unlink()
    subprocess.run([sys.executable, KILLED, "encode", run.folder, tmp_path / "copies"], check=True)
    monkeypatch.setattr("clearformer.data.pieces.BLOCK", 64)
    texts: list[int] = []
    encode = Tokenizer.encode_array
    monkeypatch.setattr(Tokenizer, "encode_array", lambda self, batch: texts.append(len(batch)) or encode(self, batch))
    counts = []
    for copy in sorted((tmp_path / "copies").iterdir(), key=lambda path: int(path.name)):
        texts.clear()
        open_folder(copy, pytest.fail).batches("train")
        assert read_files(copy / "tokens") == whole, copy.name
        counts.append(len(texts))
    assert counts == sorted(counts, reverse=True)
    assert set(counts) == set(range(counts[0] + 1))  # from everything to nothing, batch by batch
    assert counts[0] >= 4


def test_encoding_goes_on_only_after_what_was_written_for_this_text(make_large):
    run, _ = make_large("large")
    folder = run.folder / "tokens"
    whole = read_files(folder)
    state = {"sha256": hashlib.sha256(whole["train.bin"][:8]).hexdigest(), "bytes": 8, "batches": 1, "unknown": 0}
    begun = json.loads(whole["tokens.json"]) | {"block": pieces.BLOCK, "batch": tokens.BATCH, "train": state}
    for change in ({"text": "0" * 64}, {"block": 1}, {"train": state | {"sha256": "0" * 64}}):
        (folder / "tokens.json").unlink()
        (folder / "begun.json").write_text(json.dumps(begun | change))
        open_folder(run.folder, pytest.fail).batches("train")
        assert read_files(folder) == whole


def test_other_text_is_never_encoded_into_a_run(make_large):
    run, _ = make_large("large")
    (run.folder / "tokens" / "tokens.json").unlink()
    path = Path(run.config.data[0])
    path.write_text(path.read_text().replace("no. 0", "no. 1"))
    opened = open_folder(run.folder, pytest.fail)
    with pytest.raises(RunError, match=r"numbers\.txt now holds other data; put the old data back or train anew"):
        opened.batches("train")
    assert not (run.folder / "tokens" / "tokens.json").exists()


def test_what_the_vocabulary_lacks_is_counted(make_large):
    run, _ = make_large("large", model=dataclasses.replace(make_large("other")[0].config.model, vocab_size=10))
    notices: list[str] = []
    batches = open_folder(run.folder, notices.append).batches("train")
    unknown = sum(token == run.tokenizer.special.unk for token in batches.tokens.tolist())
    assert unknown > 0
    assert notices == [
        f"{unknown:,} of {len(batches.tokens):,} tokens of the train split are not in the vocabulary: <unk>"
    ]


def test_the_tokenizers_sample_is_said_and_spread_over_the_training_split(make_large):
    run, notices = make_large("large")
    count = len(run.corpus.train)
    assert notices[0].startswith(
        f"numbers.txt is large: the tokenizer is trained on {count:,} of {count:,} characters, and its tokens are kept"
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("clearformer.data.pieces.BLOCK", 64)
        sha256, sample = survey(run.corpus, sample_size=count // 4)
        texts = {split: "".join(text for of, text in run.corpus.pieces() if of == split) for split in ("train",)}
    assert sha256 == json.loads((run.folder / "data.json").read_text())["sha256"]
    places = [texts["train"].index(piece) / count for piece in sample]
    assert places == sorted(places)
    # a quarter, in pieces of about 64 characters, of a text of about 2,700: every 256 characters
    assert count // 4 <= sum(map(len, sample)) <= count // 4 + 128
    assert np.diff(places).max() <= 4 * 128 / count


def test_each_pass_over_a_large_text_shows_how_far_it_is(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("clearformer.data.load.LARGE", ALWAYS)
    monkeypatch.setattr("clearformer.data.pieces.BLOCK", 64)
    shown: dict[str, list[tuple[int, int]]] = {}
    run = create_folder(
        tmp_path / "run", config("gpt"), print, lambda name, *count: shown.setdefault(name.split()[0], []).append(count)
    )
    size = len(run.corpus.train) + len(run.corpus.validation)
    assert list(shown) == ["measuring", "surveying", "encoding"]
    for counts in shown.values():
        assert counts[-1] == (size, size)
        assert len(counts) > 1
        assert all(0 < done <= total for done, total in counts)
        assert [done for done, _ in counts] == sorted(done for done, _ in counts)
