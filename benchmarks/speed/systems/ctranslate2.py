"""CTranslate2: the models of systems/hugging_face.py, converted to float32."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers
import transformers
import work
from systems.hugging_face import gpt2, marian
from work import Work

if TYPE_CHECKING:
    from collections.abc import Iterator


def generation(size: str, batch: int) -> Work:
    import ctranslate2

    model, rows = gpt2(work.GPTS[size]), words(work.prompts(size, batch))
    with converted(model, work.GPTS[size].vocab_size) as folder:
        generator = ctranslate2.Generator(folder, compute_type="float32", intra_threads=os.cpu_count())
    settings = {"max_length": work.NEW, "min_length": work.NEW, "sampling_topk": 1, "include_prompt_in_result": False}

    def run() -> int:
        return sum(len(found.sequences_ids[0]) for found in generator.generate_batch(rows, **settings))

    return Work(run, batch * work.NEW, count(model), {"tokens out": run()})


def translation(size: str) -> Work:
    """The end of a sentence is forbidden, as for Hugging Face's Marian; it is not counted among the tokens."""
    import ctranslate2

    model, rows, length = marian(work.PAIRS[size]), words(work.sources()), work.TRANSLATED + 1
    with converted(model, work.PAIRS[size].vocab_size) as folder:
        translator = ctranslate2.Translator(folder, compute_type="float32", intra_threads=os.cpu_count())
    settings = {"beam_size": work.BEAM, "min_decoding_length": length, "max_decoding_length": length}

    def run() -> int:
        return sum(len(found.hypotheses[0]) for found in translator.translate_batch(rows, **settings))

    return Work(run, work.SENTENCES, count(model), {"tokens out": run()})


@contextmanager
def converted(model: Any, vocab_size: int) -> Iterator[str]:
    """A folder with the model as CTranslate2 reads it, whose words are "t0", "t1", ...; it wants padding to be last."""
    import ctranslate2

    vocabulary = {f"t{index}": index for index in range(vocab_size - 1)} | {"<pad>": vocab_size - 1}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="t3"))
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="t1", eos_token="t2", unk_token="t3"
    )
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        model.save_pretrained(source)
        fast.save_pretrained(source)
        ctranslate2.converters.TransformersConverter(str(source)).convert(str(target), quantization="float32")
        yield str(target)


def words(rows: Any) -> list[list[str]]:
    return [[f"t{index}" for index in row] for row in rows]


def count(model: Any) -> int:
    return sum(weight.numel() for weight in model.parameters())
