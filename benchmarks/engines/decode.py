"""Tokens per second of greedy generation with a key-value cache, of the same GPT in each engine and in other libraries.

    python benchmarks/engines/decode.py --size M --batch 1 --rounds 5
    python benchmarks/engines/decode.py --size G --batch 16 --against c huggingface ctranslate2

A prompt of 32 tokens is continued by 128, in each row of the batch; random weights in float32. Each system has its own
process and the systems take turns, as in step.py; ratios are within a round. `ctranslate2 int8` has its linear layers'
weights in int8, as that library converts them. `memory` is how fast all threads read a gigabyte: a token of a batch of
one reads every weight once, which is its share of that rate. Prints one JSON object.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import step

from clearformer.config import Config, GPTConfig
from clearformer.models.initial import count_parameters

SIZES = {
    "M": step.SIZES["M"][0],
    "G": GPTConfig(vocab_size=50257, context=1024, d_model=768, num_heads=12, num_layers=12, d_ff=3072, dropout=0.0),
}
PROMPT, NEW = 32, 128
SECONDS, LEAST = 6.0, 3
"""duration of one measurement, and its number of generations"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="M")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", nargs="*", default=["torch"], help="engines, huggingface, ctranslate2 [int8]")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps({"per_second": measure(options.child, SIZES[options.size], options.batch)}))
        return
    names = ["c", *options.against, "memory"]
    arguments = ["--size", options.size, "--batch", str(options.batch)]
    rounds = [
        {name: step.in_a_process(__file__, name, options.threads, arguments)["per_second"] for name in names}
        for _ in range(options.rounds)
    ]
    result: dict[str, Any] = {key: value for key, value in vars(options).items() if key not in ("against", "child")}
    result["processor"] = step.processor()
    for name in names:
        ratios = [each["c"] / each[name] for each in rounds]
        result[name] = {
            "per_second": round(statistics.median(each[name] for each in rounds), 1),
            "c_is_faster": [round(pick(ratios), 2) for pick in (statistics.median, min, max)],
        }
    if options.batch == 1:
        read = 4 * count_parameters(SIZES[options.size])
        shares = [each["c"] * read / each["memory"] for each in rounds]
        result["memory"] = {"per_second": result["memory"]["per_second"], "share": round(statistics.median(shares), 3)}
    print(json.dumps(result))


def measure(name: str, config: GPTConfig, batch: int) -> float:
    """New tokens per second; of `memory`, bytes."""
    if name == "memory":
        return memory()
    prompts = np.random.default_rng(1).integers(4, config.vocab_size, (batch, PROMPT)).tolist()
    generate = OTHERS[name](config, prompts) if name in OTHERS else engine(name, config, prompts)
    generate()
    times: list[float] = []
    while sum(times) < SECONDS or len(times) < LEAST:
        start = time.perf_counter()
        generate()
        times.append(time.perf_counter() - start)
    return batch * NEW / statistics.median(times)


def memory() -> float:
    import torch

    numbers = torch.from_numpy(np.ones(2**28, np.float32))  # in huge pages, as NumPy's weights are
    times = []
    for _ in range(10):
        start = time.perf_counter()
        numbers.sum()
        times.append(time.perf_counter() - start)
    return numbers.nbytes / min(times)


def engine(name: str, config: GPTConfig, prompts: list[list[int]]) -> Callable[[], object]:
    from clearformer.generation.decoding import generate
    from clearformer.generation.sampling import GREEDY

    model = step.opened(name).make_model(Config(dataset="", model=config))

    def run() -> None:
        assert sum(len(tokens) for tokens in generate(model, prompts, NEW, GREEDY)) == len(prompts) * NEW

    return run


def huggingface_model(config: GPTConfig) -> Any:
    import transformers

    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.context,
            n_embd=config.d_model,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()


def huggingface(config: GPTConfig, prompts: list[list[int]]) -> Callable[[], object]:
    import torch

    model, tokens = huggingface_model(config), torch.tensor(prompts)
    mask = torch.ones_like(tokens)

    def run() -> None:
        found = model.generate(
            tokens, attention_mask=mask, do_sample=False, min_new_tokens=NEW, max_new_tokens=NEW, pad_token_id=0
        )
        assert found.shape[1] == PROMPT + NEW

    return run


def ctranslate2(config: GPTConfig, prompts: list[list[int]], precision: str = "float32") -> Callable[[], object]:
    import ctranslate2
    import tokenizers
    import transformers

    words = {f"t{index}": index for index in range(config.vocab_size)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="t0"))
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        huggingface_model(config).save_pretrained(source)
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=backend, unk_token="t0", bos_token="t1", eos_token="t2"
        ).save_pretrained(source)
        ctranslate2.converters.TransformersConverter(str(source)).convert(str(target), quantization=precision)
        generator = ctranslate2.Generator(
            str(target), compute_type=precision, intra_threads=int(os.environ["OMP_NUM_THREADS"])
        )
    rows = [[f"t{index}" for index in prompt] for prompt in prompts]

    def run() -> None:
        found = generator.generate_batch(
            rows, max_length=NEW, min_length=NEW, include_prompt_in_result=False, sampling_topk=1
        )
        assert all(len(each.sequences_ids[0]) == NEW for each in found)

    return run


OTHERS: dict[str, Callable[[GPTConfig, list[list[int]]], Callable[[], object]]] = {
    "huggingface": huggingface,
    "ctranslate2": ctranslate2,
    "ctranslate2 int8": lambda config, prompts: ctranslate2(config, prompts, "int8"),
}

if __name__ == "__main__":
    main()
