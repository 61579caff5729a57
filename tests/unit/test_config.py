"""A configuration survives its file, and an invalid one is refused with the name of the key and the reason."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clearformer.config import Config, CosineSchedule, GPTConfig, PaperSchedule, TrainConfig, TransformerConfig
from clearformer.errors import ConfigError

GPT = Config(
    dataset="mine",
    model=GPTConfig(vocab_size=90, context=8, d_model=12, num_heads=3, num_layers=1, d_ff=7, dropout=0.25, norm="rms"),
    tokenizer="bpe",
    data=("a.txt", "b.txt"),
    train=TrainConfig(steps=3, schedule=CosineSchedule(peak=0.5, final=0.125, warmup_steps=2), seed=7),
)
TRANSFORMER = Config(
    dataset="reverse",
    model=TransformerConfig(d_model=6, num_heads=2, tie_embeddings=False),
    train=TrainConfig(schedule=PaperSchedule(factor=2.0, warmup_steps=11), label_smoothing=0.1),
)


def minimal(**changes: Any) -> dict[str, Any]:
    return {"dataset": "reverse", "model": {"kind": "transformer"}} | changes


@pytest.mark.parametrize("config", [GPT, TRANSFORMER])
def test_a_configuration_survives_json(config: Config, tmp_path: Path):
    (tmp_path / "config.json").write_text(config.to_json(), encoding="utf-8")
    assert Config.load(tmp_path / "config.json") == config
    assert Config.from_dict(json.loads(config.to_json())) == config


def test_json_has_its_format_and_the_kind_where_there_is_a_choice():
    values = json.loads(TRANSFORMER.to_json())
    assert values["format"] == 1
    assert values["model"]["kind"] == "transformer"
    assert values["train"]["schedule"] == {"kind": "paper", "factor": 2.0, "warmup_steps": 11}


def test_toml_is_read_as_the_same_configuration(tmp_path: Path):
    (tmp_path / "config.toml").write_text(
        'dataset = "reverse"\n'
        '[model]\nkind = "transformer"\nd_model = 6\nnum_heads = 2\ntie_embeddings = false\n'
        "[train]\nlabel_smoothing = 0.1\n"
        '[train.schedule]\nkind = "paper"\nfactor = 2\nwarmup_steps = 11\n',
        encoding="utf-8",
    )
    assert Config.load(tmp_path / "config.toml") == TRANSFORMER


def test_omitted_keys_take_the_papers_values():
    config = Config.from_dict(minimal())
    # table 3, "base": N, d_model, d_ff, h, P_drop
    model = config.model
    assert (model.num_layers, model.d_model, model.d_ff, model.num_heads, model.dropout) == (6, 512, 2048, 8, 0.1)
    assert model.key_width == 64
    assert config.train == TrainConfig()


def test_an_integer_is_accepted_as_a_float_but_not_a_float_as_an_integer():
    assert Config.from_dict(minimal(train={"clip": 2})).train.clip == 2.0
    with pytest.raises(ConfigError, match=r"^train\.steps must be of type int, found 2\.0"):
        Config.from_dict(minimal(train={"steps": 2.0}))


KINDS = r"^model\.kind must be one of transformer, gpt, bert, classifier, found "


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (minimal(colour="red"), r"configuration has the unknown key 'colour'; it may have dataset, model, tokenizer"),
        (minimal(train={"step": 3}), r"^train has the unknown key 'step'; it may have steps, batch_to"),
        (minimal(model={"kind": "gpt", "heads": 1}), r"^model has the unknown key 'heads'"),
        ({"model": {"kind": "gpt"}}, r"configuration lacks the key 'dataset'; add it"),
        ({"dataset": "x"}, r"configuration lacks the key 'model'; add it"),
        (minimal(model={"kind": "rnn"}), KINDS + "'rnn'"),
        (minimal(model={}), KINDS + "None"),
        (minimal(model="gpt"), KINDS + "None"),
        (minimal(model={"kind": []}), KINDS + r"\[\]; change"),
        (minimal(train={"schedule": {"kind": "step"}}), r"train\.schedule\.kind must be one of cosine, linear, paper"),
        (minimal(train=3), r"^train must be of type TrainConfig, found 3"),
        (minimal(dataset=3), r"^dataset must be of type str, found 3"),
        (minimal(train={"steps": True}), r"^train\.steps must be of type int, found True"),
        (minimal(train={"clip": "1"}), r"^train\.clip must be a number, found '1'"),
        (minimal(train={"clip": True}), r"^train\.clip must be a number, found True"),
        (minimal(train={"token_loss": True}), r"^train\.token_loss must be false unless a classifier has mean pool"),
        (
            minimal(tokenizer="bytes"),
            r"^tokenizer must be one of character, bpe, word, number, imported, found 'bytes'",
        ),
        (
            minimal(tokenizer=["bpe"]),
            r"^tokenizer must be one of character, bpe, word, number, imported, found \['bpe'\]",
        ),
        (minimal(data="a.txt"), r"^data must be a list of strings, found 'a\.txt'"),
        (minimal(data=["a", 1]), r"^data must be a list of strings, found \['a', 1\]"),
        (minimal(format=2), r"format 1 or older was expected, found format 2; upgrade clearformer"),
        (minimal(format="1"), r"format 1 or older was expected, found format '1'; upgrade clearformer"),
    ],
)
def test_an_unknown_key_or_invalid_value_is_named_by_its_path(values: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        Config.from_dict(values)


SMALL = GPT.model


@pytest.mark.parametrize(
    ("valid", "change", "message"),
    [
        *((SMALL, {name: 0}, rf"^model\.{name} must be at least 1, found 0; change that value")
          for name in ("vocab_size", "context", "d_model", "num_heads", "num_layers", "d_ff")),
        (SMALL, {"num_heads": 5}, r"num_heads must be a divisor of d_model \(12\), found 5"),
        (SMALL, {"head_width": 0}, r"^model\.head_width must be at least 1, found 0; change that value"),
        (SMALL, {"head_width": 3, "positions": "rotary"}, r"head_width must be even, as rotary positions need"),
        (SMALL, {"rotary_factor": 0.0}, r"^model\.rotary_factor must be above 0 and finite, found 0\.0"),
        (SMALL, {"rotary_low": 4.0}, r"^model\.rotary_high must be above rotary_low \(4\.0\), found 4\.0"),
        (SMALL, {"rotary_context": -1}, r"^model\.rotary_context must be at least 0, found -1"),
        (SMALL, {"d_model": 9, "positions": "sinusoidal"}, r"d_model must be even, as sinusoidal positions need, fou"),
        (SMALL, {"norm": "none", "qk_norm": True}, r"^model\.qk_norm must be false, since norm is none, found True"),
        (SMALL, {"dropout": 1.0}, r"dropout must be at least 0 and below 1, found 1\.0"),
        (SMALL, {"dropout": -0.1}, r"dropout must be at least 0 and below 1, found -0\.1"),
        (SMALL, {"dropout": float("nan")}, r"dropout must be at least 0 and below 1, found nan"),
        (CosineSchedule(), {"peak": 0.0}, r"^train\.schedule\.peak must be above 0, found 0\.0"),
        (CosineSchedule(), {"peak": float("inf")}, r"peak must be above 0, found inf"),
        (CosineSchedule(), {"final": 0.5}, r"final must be between 0 and peak \(0\.001\), found 0\.5"),
        (CosineSchedule(), {"final": -0.5}, r"final must be between 0 and peak"),
        (CosineSchedule(), {"warmup_steps": -1}, r"warmup_steps must be at least 0, found -1"),
        (PaperSchedule(), {"warmup_steps": 0}, r"^train\.schedule\.warmup_steps must be at least 1, found 0"),
        (PaperSchedule(), {"factor": -1.0}, r"factor must be above 0, found -1\.0"),
        *((TrainConfig(), {name: 0}, rf"^train\.{name} must be at least 1, found 0")
          for name in ("steps", "batch_tokens", "accumulation", "log_every", "validate_every", "validation_tokens",
                       "checkpoint_every", "keep_checkpoints")),
        *((TrainConfig(), {name: 1.0}, rf"{name} must be at least 0 and below 1, found 1\.0")
          for name in ("beta1", "beta2", "label_smoothing")),
        (GPT, {"reverse_pairs": True}, r"^reverse_pairs must be false, since a gpt reads no pairs, found True"),
        (TrainConfig(), {"weight_decay": float("inf")}, r"weight_decay must be at least 0 and finite, found inf"),
        (TrainConfig(), {"clip": -1.0}, r"clip must be at least 0 and finite, found -1\.0"),
        (TrainConfig(), {"seed": -1}, r"seed must be at least 0 and finite, found -1"),
        (TrainConfig(), {"epsilon": 0.0}, r"epsilon must be above 0 and finite, found 0\.0"),
        (TrainConfig(), {"epsilon": float("inf")}, r"epsilon must be above 0 and finite, found inf"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused(valid: Any, change: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        replace(valid, **change)


def test_heads_are_as_wide_as_they_are_told_also_where_their_number_does_not_divide_the_width():
    told = replace(SMALL, num_heads=5, head_width=6, positions="rotary")
    assert told.key_width == 6
    config = replace(GPT, model=told)
    assert Config.from_dict(json.loads(config.to_json())) == config
    assert "head_width" not in GPT.to_json()


def test_learned_positions_do_not_need_an_even_width():
    assert replace(SMALL, d_model=9).key_width == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'{"dataset": ', r"a configuration in JSON or TOML was expected in .*a\.json, but: Expect"),
        ("a.toml", b"dataset = ", r"a configuration in JSON or TOML was expected in .*a\.toml, but: "),
        ("a.json", b"\xff", r"was expected in .*a\.json, but: .*utf-8"),
        ("a.json", b"[1]", r"an object of keys and values was expected in .*a\.json, found list"),
        ("a.json", None, r"was expected in .*a\.json, but: .*No such file"),
    ],
)
def test_a_broken_or_missing_file_is_named(tmp_path: Path, name: str, content: bytes | None, message: str):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        Config.load(tmp_path / name)
