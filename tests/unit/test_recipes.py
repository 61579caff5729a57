"""Every recipe can be built, and recipes for the user's files suit their kind and size."""

import re
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearformer.config import BERTConfig, ClassifierConfig, Config, CosineSchedule, GPTConfig, TransformerConfig
from clearformer.data.catalogue import DOWNLOADS
from clearformer.data.load import BUILT_IN
from clearformer.models.initial import count_parameters
from clearformer.recipes import MEASURED, RECIPES, recipe_for

FAMILIES = {"text": GPTConfig, "pairs": TransformerConfig, "labels": ClassifierConfig}
Kind = Literal["text", "pairs", "labels"]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_saved_and_loaded(name: str, tmp_path: Path):
    config = RECIPES[name]()
    path = tmp_path / "config.json"
    path.write_text(config.to_json())
    assert Config.load(path) == config
    assert config.modular or config.dataset in [*BUILT_IN, *DOWNLOADS]
    assert count_parameters(config.model) > 10_000
    if isinstance(config.train.schedule, CosineSchedule):
        assert config.train.schedule.warmup_steps <= config.train.steps / 5


def test_a_recipe_has_the_name_of_its_function_with_hyphens_and_of_its_data_set():
    for name, make in RECIPES.items():
        assert make.__name__ == name.replace("-", "_")
        assert re.fullmatch("[a-z0-9_-]+", name)
        assert not (name in DOWNLOADS or name in BUILT_IN) or RECIPES[name]().dataset == name
    assert MEASURED.keys() <= RECIPES.keys()


def test_the_families_of_recipes():
    kinds = {name: type(make().model) for name, make in RECIPES.items()}
    assert kinds["bert"] is BERTConfig
    assert kinds["gpt2-style"] is kinds["llama-style"] is kinds["tinyshakespeare"] is GPTConfig
    assert kinds["paper-base"] is kinds["multi30k"] is kinds["dates"] is TransformerConfig
    assert kinds["polarity"] is kinds["ag_news"] is ClassifierConfig


@pytest.mark.parametrize(
    ("kind", "size", "tokenizer", "vocab_size"),
    [
        ("text", 100, "character", 20_000),
        ("text", 2_000_000, "character", 20_000),
        ("text", 2_000_001, "bpe", 8000),
        ("pairs", 100, "bpe", 512),
        ("pairs", 300_000, "bpe", 3000),
        ("pairs", 10**7, "bpe", 8000),
        ("labels", 100, "word", 20_000),
        ("labels", 10**7, "word", 20_000),
    ],
)
def test_the_tokenizer_chosen_for_a_file_suits_its_kind_and_size(
    kind: Kind, size: int, tokenizer: str, vocab_size: int
):
    config = recipe_for(kind, "mine.txt", size)
    assert config.dataset == "mine.txt"
    assert type(config.model) is FAMILIES[kind]
    assert (config.tokenizer, config.model.vocab_size) == (tokenizer, vocab_size)


@pytest.mark.parametrize(("kind", "epochs"), [("text", 8), ("pairs", 20), ("labels", 4)])
@given(size=st.integers(100, 10**8))
def test_a_file_is_read_for_its_kinds_epochs_in_100_to_2000_steps(kind: Kind, epochs: int, size: int):
    config = recipe_for(kind, "mine", size)
    steps = config.train.steps
    characters = {"character": 1, "bpe": 4, "word": 5}[config.tokenizer] * config.train.batch_tokens
    assert 100 <= steps <= 2000
    if steps < 2000:
        assert (steps + 1) * characters > epochs * size
    if steps > 100:
        assert steps * characters <= epochs * size


@pytest.mark.parametrize(("size", "dropout"), [(100, 0.2), (999_999, 0.2), (1_000_000, 0.0)])
def test_short_texts_have_dropout(size: int, dropout: float):
    assert recipe_for("text", "mine", size).model.dropout == dropout


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("size", [100, 10**5, 10**9])
def test_a_recipe_for_files_warms_up_for_a_tenth_of_its_steps_and_runs_on_any_processor(kind: Kind, size: int):
    config = recipe_for(kind, "mine", size)
    assert 1 <= config.train.schedule.warmup_steps <= config.train.steps / 10
    assert config.train.precision in ("auto", "native")
    assert config.model.context == (64 if kind == "text" else 256)
    assert count_parameters(config.model) < 12_000_000
