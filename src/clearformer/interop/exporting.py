"""From a run to a folder that transformers loads: config.json, weights, tokenizer, and a model card."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import safetensors.numpy
import tokenizers
from tokenizers import processors

from clearformer.config import AnyModelConfig
from clearformer.data.imported import ImportedTokenizer
from clearformer.data.sides import SidedTokenizer
from clearformer.data.tokenizers import EOS, SPECIAL, Special, Tokenizer
from clearformer.errors import InteropError
from clearformer.generation.sources import NEVER_GENERATED
from clearformer.interop.card import write_card
from clearformer.interop.folder import WEIGHTS
from clearformer.interop.formats import Format, misfits, write_values
from clearformer.interop.sides import write_sides
from clearformer.interop.tables import WRITTEN
from clearformer.interop.weights import write_weights
from clearformer.runs.folder import RunFolder
from clearformer.runs.session import trained_weights


def export_model(run: RunFolder, folder: Path) -> None:
    """Write `folder`, which `AutoModelForCausalLM` and `AutoTokenizer` load.

    Raises InteropError, before anything is written, for a model that no format can hold, and if the folder is in use;
    RunError for one that was imported without a head, and not trained since.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InteropError(f"a new or empty folder was expected, but {folder} is in use; name another")
    run.require_head()
    format_, config = choose_format(run.config.model)
    values, tokens = write_values(format_, config), special_names(run.tokenizer)
    special = run.tokenizer.special
    values |= {"pad_token_id": special.pad, "bos_token_id": special.bos, "eos_token_id": special.eos}
    writing: dict[str, Any] = {}
    if format_.kind == "transformer":
        values["decoder_start_token_id"] = special.bos
        ids = {key: value for key, value in values.items() if key.endswith("token_id")}
        writing = ids | {"suppress_tokens": NEVER_GENERATED, "max_length": config.context + 1}
    weights = write_weights(format_, config, format_.biased(values), trained_weights(run).tensors["model"])
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    if isinstance(run.tokenizer, SidedTokenizer):
        write_sides(run.tokenizer, folder)
    else:
        _backend(run.tokenizer, format_).save(str(folder / "tokenizer.json"))
    if writing:
        _write_json(folder / "generation_config.json", writing)
    sided = {"tokenizer_class": "MarianTokenizer"} if isinstance(run.tokenizer, SidedTokenizer) else {}
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(tokens, run.config.model.context) | sided)
    write_card(run, format_, folder)
    _write_json(folder / "config.json", values)


def choose_format(config: AnyModelConfig) -> tuple[Format, AnyModelConfig]:
    """The first format that can hold the model, and its configuration, with all biases if the format has them.

    Raises InteropError that names the settings which the nearest format lacks.
    """
    plain = dataclasses.replace(config, num_kv_heads=0 if config.kv_heads == config.num_heads else config.num_kv_heads)
    if config.key_width * config.num_heads == config.d_model:
        plain = dataclasses.replace(plain, head_width=None)
    nearest = min(WRITTEN, key=lambda each: (each.kind != config.kind, len(misfits(each, plain))))
    if lacking := misfits(nearest, plain):
        formats = ", ".join(each.architecture for each in WRITTEN)
        raise InteropError(
            f"a model that a format of Hugging Face's can hold was expected ({formats}), but the nearest, "
            f"{nearest.architecture}, lacks {', '.join(lacking)}; export it --to c"
        )
    return nearest, dataclasses.replace(plain, **nearest.completed)


def special_names(tokenizer: Tokenizer) -> dict[str, str]:
    """The texts of the special tokens by Hugging Face's names of their roles."""
    if isinstance(tokenizer, ImportedTokenizer):
        return tokenizer.names
    roles = zip(Special._fields, SPECIAL, strict=True)
    return {f"{role}_token": text for role, text in roles if role != "mask" or tokenizer.has_mask}


def _backend(tokenizer: Tokenizer, format_: Format) -> tokenizers.Tokenizer:
    """The tokenizer; a translator's puts the token behind a text that ends it, as the model reads sources."""
    if format_.kind != "transformer":
        return tokenizer.backend
    backend, end = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str()), special_names(tokenizer)["eos_token"]
    backend.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, EOS)])
    return backend


def _tokenizer_config(tokens: dict[str, str], context: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        **tokens,
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
