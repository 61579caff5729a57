"""A run is created once, opened as it was created, and never continues on other data."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clearformer.config import Config
from clearformer.data.batches import PairBuckets, TextWindows
from clearformer.data.corpora import Split
from clearformer.errors import ClearformerError, ConfigError, DataError, RunError
from clearformer.runs.folder import RunFolder, create_folder, open_folder

Make = Callable[..., RunFolder]
MakeConfig = Callable[..., Config]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("family", ["gpt", "transformer"])
def test_a_run_opens_as_it_was_created(make_run: Make, family: str):
    created = make_run(family)
    opened = open_folder(created.folder, pytest.fail)
    assert sorted(contents(created.folder)) == ["config.json", "data.json", "tokenizer.json"]
    assert opened.config == created.config
    assert opened.corpus == created.corpus
    assert vars(opened.batches("train").batch(3)).keys() == vars(created.batches("train").batch(3)).keys()
    for one, other in zip(
        opened.batches("train").batch(3).inputs, created.batches("train").batch(3).inputs, strict=True
    ):
        assert (one == other).all()


def test_the_vocabulary_is_no_larger_than_the_text_needs(make_run: Make):
    # by hand: the text has the characters "no. ", ten digits and the line end; and there are four special tokens
    assert make_run("gpt").config.model.vocab_size == 4 + 10 + 1 + 4


def test_a_run_finds_its_data_from_any_folder(tmp_path: Path, config: MakeConfig, monkeypatch: pytest.MonkeyPatch):
    config_ = config("gpt")
    monkeypatch.chdir(tmp_path)
    create_folder(tmp_path / "run", dataclasses.replace(config_, data=("numbers.txt",)), pytest.fail)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = open_folder(tmp_path / "run", pytest.fail)
    assert run.config.data == config_.data
    assert run.corpus.name == "numbers.txt"


def test_data_json_describes_the_data(make_run: Make):
    run = make_run("transformer")
    data = json.loads((run.folder / "data.json").read_text())
    assert (data["name"], data["kind"]) == ("numbers.tsv", "pairs")
    assert sum(data["sizes"].values()) == 300
    assert len(data["sha256"]) == 64


def test_reversed_pairs_swap_source_and_target_and_count_as_other_data(
    tmp_path: Path, make_run: Make, config: MakeConfig
):
    forwards = make_run("transformer", "forwards")
    reversed_config = dataclasses.replace(config("transformer"), reverse_pairs=True)
    create_folder(tmp_path / "backwards", reversed_config, pytest.fail)
    backwards = open_folder(tmp_path / "backwards", pytest.fail)
    for split in ("train", "validation", "test"):
        pairs = getattr(forwards.corpus, split)
        assert getattr(backwards.corpus, split) == [(target, source) for source, target in pairs]
    turned = dataclasses.replace(backwards.config, reverse_pairs=False)
    with pytest.raises(RunError, match=r"now holds other data"):
        RunFolder(backwards.folder, turned, backwards.tokenizer, pytest.fail).batches("train")


@pytest.mark.parametrize(("family", "kind"), [("gpt", TextWindows), ("transformer", PairBuckets)])
def test_each_family_gets_its_batches(make_run: Make, family: str, kind: type):
    assert isinstance(make_run(family).batches("validation"), kind)


def test_a_folder_with_a_run_is_refused_and_resuming_suggested(make_run: Make, config: MakeConfig):
    run = make_run("gpt")
    before = contents(run.folder)
    message = (
        r"a new or empty folder was expected, but .*run is in use; continue with: clearformer resume .*run, or choose"
    )
    with pytest.raises(RunError, match=message):
        create_folder(run.folder, config("gpt"), pytest.fail)
    assert contents(run.folder) == before


def test_a_folder_with_other_files_and_a_file_are_refused(tmp_path: Path, config: MakeConfig):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("folder", "file"):
        with pytest.raises(RunError, match=rf"but .*{name} is in use; choose another --out$"):
            create_folder(tmp_path / name, config("gpt"), pytest.fail)
    assert contents(tmp_path / "folder") == {"thesis.txt": b"mine"}


@pytest.mark.parametrize("left", [[], ["tokenizer.json"], ["tokenizer.json", "data.json", "config.tmp"]])
def test_a_folder_whose_creation_was_interrupted_is_created_again(
    tmp_path: Path, make_run: Make, config: MakeConfig, left: list[str]
):
    expected = contents(make_run("gpt").folder)
    (tmp_path / "half").mkdir()
    for name in left:
        (tmp_path / "half" / name).write_text("half")
    create_folder(tmp_path / "half", config("gpt"), pytest.fail)
    assert contents(tmp_path / "half") == expected


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path, config: MakeConfig):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"must be a folder that can be written to, but: .*; choose another --out"):
        create_folder(tmp_path / "file" / "run", config("gpt"), pytest.fail)


@pytest.mark.parametrize(
    ("family", "other", "message"),
    [
        ("gpt", "transformer", r"a gpt learns from text, but numbers\.tsv holds pairs; choose a recipe for pairs"),
        ("transformer", "gpt", r"a transformer learns from pairs, but numbers\.txt holds text; choose a recipe for t"),
    ],
)
def test_data_that_does_not_suit_the_family_is_refused(
    tmp_path: Path, config: MakeConfig, family: str, other: str, message: str
):
    unsuited = dataclasses.replace(config(family), data=config(other).data)
    with pytest.raises(ConfigError, match=message):
        create_folder(tmp_path / "run", unsuited, pytest.fail)
    assert not (tmp_path / "run").exists()


def test_changed_data_is_refused(make_run: Make):
    run = make_run("gpt")
    data = Path(run.config.data[0])
    data.write_text(data.read_text().replace("no. 4\n", "no. 5\n"))
    message = (
        r"the data that .*run was created with \(SHA-256 [0-9a-f]{12}…\) was expected, but .*numbers\.txt now holds o"
    )
    with pytest.raises(RunError, match=message):
        open_folder(run.folder, pytest.fail).batches("train")


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_run_without_its_fingerprint_is_refused(make_run: Make, content: str | None):
    run = make_run("gpt")
    (run.folder / "data.json").unlink()
    if content is not None:
        (run.folder / "data.json").write_text(content)
    with pytest.raises(RunError, match=r"the data's SHA-256 was expected in .*data\.json, but: .*; train anew"):
        open_folder(run.folder, pytest.fail).batches("train")


def test_a_folder_without_a_run_is_refused(tmp_path: Path):
    with pytest.raises(RunError, match=r"a run was expected in .*, but there is no config\.json; create one with: c"):
        open_folder(tmp_path, pytest.fail)


def test_the_tokenizer_of_another_run_is_refused(make_run: Make):
    gpt, transformer = make_run("gpt", "one"), make_run("transformer", "two")
    transformer.tokenizer.save(gpt.folder / "tokenizer.json")
    sizes = rf"a vocabulary of 19 was expected in .*tokenizer\.json, found {transformer.tokenizer.vocab_size}; restore"
    with pytest.raises(RunError, match=sizes):
        open_folder(gpt.folder, pytest.fail)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_damaged_file_of_a_run_is_named(make_run: Make, name: str):
    run = make_run("gpt")
    (run.folder / name).write_text("{")
    with pytest.raises(ClearformerError, match=rf"was expected in .*{name}, but: "):
        open_folder(run.folder, pytest.fail)


def test_text_has_no_test_split(make_run: Make):
    with pytest.raises(DataError, match=r"numbers\.txt has no test split; evaluate with --split validation"):
        make_run("gpt").batches("test")


def long_pairs(run: RunFolder, context: int, notices: list[str]) -> RunFolder:
    """The same run with a model of that context: its targets have 5 to 9 characters."""
    model = dataclasses.replace(run.config.model, context=context)
    return RunFolder(run.folder, dataclasses.replace(run.config, model=model), run.tokenizer, notices.append)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_pairs_beyond_the_context_are_left_out_and_reported(make_run: Make, split: Split):
    notices: list[str] = []
    run = long_pairs(make_run("transformer"), 9, notices)
    batches = run.batches(split)
    # with BOS or EOS, a pair of 8 characters fills a context of 9; from 100² on there are 9 of them
    examples = getattr(run.corpus, split)
    fitting = sum(len(source) <= 8 for source, _ in examples)
    total = len(examples)
    assert 0 < fitting < total
    assert notices == [f"{total - fitting} of {total} {split} pairs are too long for the context: left out"]
    rows = sum(len(batch.source) for batch in batches.in_order())
    assert rows == fitting
    assert max(batch.source.shape[1] for batch in batches.in_order()) == 9


def test_data_without_a_pair_that_fits_the_context_is_refused(make_run: Make):
    with pytest.raises(DataError, match=r"pairs of fewer than 2 tokens were expected, .* raise --model\.context"):
        long_pairs(make_run("transformer"), 2, []).batches("train")


def test_a_pair_that_just_fits_the_context_is_kept(make_run: Make):
    run = long_pairs(make_run("transformer"), 10, [])
    assert max(batch.source.shape[1] for batch in run.batches("train").in_order()) == 10


@pytest.mark.parametrize("family", ["gpt", "transformer"])
def test_tokens_outside_the_vocabulary_are_reported(tmp_path: Path, config: MakeConfig, family: str):
    known = config(family)
    small = dataclasses.replace(known, model=dataclasses.replace(known.model, vocab_size=8))
    notices: list[str] = []
    run = create_folder(tmp_path / "run", small, notices.append)
    assert notices == []
    batches = run.batches("train")
    targets = [index for batch in batches.in_order() for index in batch.targets.ravel().tolist() if index != -100]
    unknown, rest = notices[0].split(" of ", 1)
    assert rest.endswith(" tokens of the train split are not in the vocabulary: <unk>")
    assert int(unknown.replace(",", "")) == targets.count(3) * (2 if family == "transformer" else 1)
