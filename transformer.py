"""The whole transformer in one file, in tinygrad: data, parts, model, training, test, saving. Read it from the top.

    python transformer.py        trains a small one to write words backwards, tests it and saves it; about a minute
    python transformer.py -v     the same, with the shapes as they flow, more losses, and where the decoder looked

Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762; normalised before each part instead of after it.
B batch, T target length, S source length, D width, E width of a head, F width of the feed-forward layer, V vocabulary.
Masks are boolean, and True means: may attend.
"""

import argparse
import math
import string
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from clearformer.engines.tinygrad import adapter
from clearformer.errors import CheckpointError, ClearformerError

try:
    DEVICE = adapter.start()
except ClearformerError as error:
    sys.exit(f"transformer.py: {error}")

from tinygrad import Context, Tensor, TinyJit
from tinygrad.nn.optim import AdamW
from tinygrad.nn.state import get_parameters, get_state_dict

# ---- Data: a word is read, and written backwards --------------------------------------------------------------------
PAD, BEGIN, END = 0, 1, 2
ALPHABET = ("<pad>", "<begin>", "<end>", *string.ascii_lowercase)  # V tokens; a token is its place in here
SHORTEST, LONGEST = 3, 7  # letters in a word
TRAIN, UNSEEN = 20_000, 256  # words to learn from, and to test on


def make_words(rng: np.random.Generator, count: int) -> list[str]:
    """`count` different words of SHORTEST to LONGEST random letters."""
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(rng.choice(list(string.ascii_lowercase), rng.integers(SHORTEST, LONGEST + 1)))] = None
    return list(words)


def encode(words: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Words as numbers: the sources, each with END [B S], and the targets, with BEGIN and END around [B T+1]."""
    source = np.full((len(words), LONGEST + 1), PAD, np.int32)
    target = np.full((len(words), LONGEST + 2), PAD, np.int32)
    for row, word in enumerate(words):
        letters = [ALPHABET.index(letter) for letter in word]
        source[row, : len(word) + 1] = [*letters, END]
        target[row, : len(word) + 2] = [BEGIN, *reversed(letters), END]
    return source, target


def decode(row: np.ndarray) -> str:
    """What is written between BEGIN and END; without an END, all of it."""
    return "".join(ALPHABET[token] for token in row[1:]).split("<end>")[0]


# ---- Parts ----------------------------------------------------------------------------------------------------------
PASSED: dict[str, list[Tensor]] = {}  # what went through the model last, by name and in order: -v shows it
ATTENTION = "attention of a head  B T S"


def passing(name: str, x: Tensor) -> Tensor:
    """Note `x`, and pass it on."""
    PASSED.setdefault(name, []).append(x)
    return x


def weight(rng: np.random.Generator, rows: int, columns: int, scale: float = 1.0) -> Tensor:
    """A random matrix whose product with a vector of spread 1 has spread `scale`."""
    return Tensor((rng.standard_normal((rows, columns)) * scale / math.sqrt(rows)).astype(np.float32))


class Head:
    """One attention head: each position asks (q), every position answers (k), and the fitting ones send a value (v).
    Attention(q, k, v) = softmax(q kᵀ / √E) v        where the mask is False, the weight is 0
    """

    def __init__(self, rng: np.random.Generator, d_model: int, d_head: int) -> None:
        self.query, self.key, self.value = (weight(rng, d_model, d_head) for _ in range(3))

    def __call__(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """Positions of `x` [B T D] look at those of `memory` [B S D] that `mask` [B T S] allows; returns [B T E]."""
        q = passing("queries of a head  B T E", x @ self.query)
        k = passing("keys of a head  B S E", memory @ self.key)
        v = memory @ self.value
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        weights = passing(ATTENTION, mask.where(scores, -math.inf).softmax(-1))
        return passing("found by a head  B T E", weights @ v)


class MultiHead:
    """Several heads side by side, each free to look somewhere else; one more matrix mixes what they found.
    MultiHead(x, m) = concat(head_1(x, m), ..., head_H(x, m)) W
    """

    def __init__(self, rng: np.random.Generator, d_model: int, num_heads: int) -> None:
        self.heads = [Head(rng, d_model, d_model // num_heads) for _ in range(num_heads)]
        self.mix = weight(rng, d_model, d_model)

    def __call__(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        return Tensor.cat(*(head(x, memory, mask) for head in self.heads), dim=-1) @ self.mix


class FeedForward:
    """Two layers with a bend between, for each position by itself.
    FFN(x) = max(0, x W1 + b1) W2 + b2
    """

    def __init__(self, rng: np.random.Generator, d_model: int, d_ff: int) -> None:
        self.up, self.up_bias = weight(rng, d_model, d_ff), Tensor(np.zeros(d_ff, np.float32))
        self.down, self.down_bias = weight(rng, d_ff, d_model), Tensor(np.zeros(d_model, np.float32))

    def __call__(self, x: Tensor) -> Tensor:
        hidden = passing("inside the feed-forward layer  B T F", (x @ self.up + self.up_bias).relu())
        return hidden @ self.down + self.down_bias


class LayerNorm:
    """Every position's vector on the same scale, so that no part is drowned by what came before it.
    LayerNorm(x) = (x - mean(x)) / √(var(x) + 1e-5) * weight + bias
    """

    def __init__(self, d_model: int) -> None:
        self.weight, self.bias = Tensor(np.ones(d_model, np.float32)), Tensor(np.zeros(d_model, np.float32))

    def __call__(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * self.weight + self.bias


class EncoderBlock:
    """The source looks at itself, then thinks; each part adds to what is there (the residual connection).
    x = x + MultiHead(n, n)        n = LayerNorm(x)
    x = x + FFN(LayerNorm(x))
    """

    def __init__(self, rng: np.random.Generator, d_model: int, num_heads: int, d_ff: int) -> None:
        self.attention, self.feed_forward = MultiHead(rng, d_model, num_heads), FeedForward(rng, d_model, d_ff)
        self.norms = [LayerNorm(d_model) for _ in range(2)]

    def __call__(self, x: Tensor, mask: Tensor) -> Tensor:
        normed = self.norms[0](x)
        x = x + self.attention(normed, normed, mask)
        return passing("out of an encoder block  B S D", x + self.feed_forward(self.norms[1](x)))


class DecoderBlock:
    """The same, with one part between: what is written so far looks at what was read (cross-attention).
    x = x + MultiHead(n, n)                        n = LayerNorm(x), earlier positions only
    x = x + MultiHead(LayerNorm(x), memory)        the encoder's output
    x = x + FFN(LayerNorm(x))
    """

    def __init__(self, rng: np.random.Generator, d_model: int, num_heads: int, d_ff: int) -> None:
        self.attention, self.cross = (MultiHead(rng, d_model, num_heads) for _ in range(2))
        self.feed_forward = FeedForward(rng, d_model, d_ff)
        self.norms = [LayerNorm(d_model) for _ in range(3)]

    def __call__(self, x: Tensor, memory: Tensor, mask: Tensor, memory_mask: Tensor) -> Tensor:
        normed = self.norms[0](x)
        x = x + self.attention(normed, normed, mask)
        x = x + self.cross(self.norms[1](x), memory, memory_mask)
        return passing("out of a decoder block  B T D", x + self.feed_forward(self.norms[2](x)))


def positions(length: int, d_model: int) -> Tensor:
    """A wave for each pair of columns, from fast to slow, tells where a position is [length D].
    P(t, 2i) = sin(t / 10000^(2i/D))        P(t, 2i + 1) = cos(t / 10000^(2i/D))
    """
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, d_model, 2) / d_model)
    return Tensor(np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, d_model).astype(np.float32))


class Transformer:
    """Reads a source, and says for each position of a target which token comes next.
    logits = LayerNorm(decode(E[target] + P, encode(E[source] + P))) W        E the embedding, P the positions
    """

    def __init__(self, rng: np.random.Generator, d_model: int = 32, num_heads: int = 2, layers: int = 1) -> None:
        self.embedding = weight(rng, len(ALPHABET), d_model, scale=math.sqrt(len(ALPHABET)))
        self.encoder = [EncoderBlock(rng, d_model, num_heads, 2 * d_model) for _ in range(layers)]
        self.decoder = [DecoderBlock(rng, d_model, num_heads, 2 * d_model) for _ in range(layers)]
        self.encoder_norm, self.decoder_norm = LayerNorm(d_model), LayerNorm(d_model)
        self.output = weight(rng, d_model, len(ALPHABET), scale=0.1)  # small: at first every token is as likely

    def embed(self, tokens: Tensor) -> Tensor:
        """A token's row of the embedding, by a product with a row of zeros and a single one, and its position."""
        return tokens.one_hot(len(ALPHABET)) @ self.embedding + positions(tokens.shape[1], self.embedding.shape[1])

    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        """`source` [B S] and `target` [B T], which starts with BEGIN, to logits [B T V]."""
        PASSED.clear()
        length = target.shape[1]
        is_read = (source != PAD).unsqueeze(1)  # B 1 S: nobody looks at padding
        is_past = Tensor(np.tril(np.ones((1, length, length), bool)))  # 1 T T: nobody looks ahead
        memory = passing("source, embedded  B S D", self.embed(source))
        for encoder in self.encoder:
            memory = encoder(memory, is_read)
        memory = self.encoder_norm(memory)
        x = passing("target, embedded  B T D", self.embed(target))
        for decoder in self.decoder:
            x = decoder(x, memory, is_past, is_read)
        return passing("logits  B T V", self.decoder_norm(x) @ self.output)


# ---- Training -------------------------------------------------------------------------------------------------------
def cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """The mean of -log p(wanted token) over all positions that are not padding."""
    log_p = (logits.log_softmax(-1) * wanted.one_hot(logits.shape[-1])).sum(-1)
    counts = wanted != PAD
    return -(log_p * counts).sum() / counts.sum()


def train(model: Transformer, words: list[str], steps: int, rng: np.random.Generator) -> Iterator[float]:
    """Each step, take 32 words, and move every weight a little to where the loss is lower; yields the losses."""
    sources, targets = encode(words)
    optimizer = AdamW(get_parameters(model), lr=0.0)

    @TinyJit  # the kernels of the first steps are kept, and run again
    def step(source: Tensor, target: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(model(source, target[:, :-1]), target[:, 1:])  # from the tokens so far to the next one
        loss.backward()
        optimizer.step()
        return loss.realize()

    for number in range(steps):
        rate = 0.012 * min((number + 1) / 20, 1, (steps - number) / (0.8 * steps))  # up at first, then down to 0
        optimizer.lr.assign(Tensor([rate])).realize()
        rows = rng.integers(len(words), size=32)
        with adapter.training():
            loss = step(Tensor(sources[rows]), Tensor(targets[rows]))
        yield loss.item()


# ---- Test, save, load -----------------------------------------------------------------------------------------------
def writer(model: Transformer) -> Callable[[list[str]], np.ndarray]:
    """A function that writes, for as many words each time: one token at a time, always the likeliest [B T+1]."""
    likeliest = TinyJit(lambda source, target: model(source, target).argmax(-1).realize())

    def write(words: list[str]) -> np.ndarray:
        source, target = encode(words)
        target[:, 1:] = PAD  # all that the model is told is BEGIN
        for place in range(LONGEST + 1):
            # Padding stands where nothing is written yet. Looking ahead is forbidden, so it changes nothing.
            target[:, place + 1] = likeliest(Tensor(source), Tensor(target[:, :-1])).numpy()[:, place]
        return target

    return write


def exact(words: list[str], written: np.ndarray) -> float:
    """The share of words that are wholly right, END included."""
    return float(np.mean([decode(row) == word[::-1] for word, row in zip(words, written, strict=True)]))


def save(model: Transformer, path: Path) -> None:
    """Every weight by its name, in the safetensors format."""
    save_file({name: parameter.numpy() for name, parameter in get_state_dict(model).items()}, path)


def load(model: Transformer, path: Path) -> None:
    """Put the weights of a file into `model`. Raises CheckpointError, and changes nothing, where they do not fit."""
    parameters, arrays = get_state_dict(model), load_file(path)
    expected: dict[str, object] = {name: (parameter.shape, np.float32, True) for name, parameter in parameters.items()}
    found = {name: (array.shape, array.dtype, np.isfinite(array).all()) for name, array in arrays.items()}
    odd = [name for name in found | expected if found.get(name) != expected.get(name)]
    if odd:
        raise CheckpointError(f"{path} does not fit: {', '.join(odd)} missing, unknown, misshapen or not finite")
    for name, parameter in parameters.items():
        parameter.assign(Tensor(arrays[name])).realize()


# ---- The story ------------------------------------------------------------------------------------------------------
def show_inside(model: Transformer, word: str) -> None:
    """-v: the shapes that `word` goes through, and where each head looked in the source while it was written."""
    source, target = encode([word])
    model(Tensor(source), Tensor(target[:, :-1]))
    print("\nShapes as one word flows through the model:")
    for name, tensors in PASSED.items():
        print(f"  {name:40} {' x '.join(map(str, tensors[0].shape))}")
    print(f"\nCross-attention while {word[::-1]!r} is written (rows) from {word!r} (columns); '.' is the end:")
    for number, weights in enumerate(PASSED[ATTENTION][-len(model.decoder[-1].cross.heads) :], start=1):
        print(f"\n  head {number}     {' '.join(word + '.')}")
        for letter, row in zip(word[::-1] + ".", weights[0].numpy(), strict=False):
            print(f"           {letter} {' '.join(' .:-=+*#%@'[min(int(10 * w), 9)] for w in row[: len(word) + 1])}")


def story(steps: int, seed: int, path: Path, verbose: bool) -> None:
    """Train, test, save, reload; prints what happens."""
    rng = np.random.default_rng(seed)
    words = make_words(rng, TRAIN + UNSEEN)
    seen, unseen = words[:TRAIN], words[TRAIN:]
    model = Transformer(rng)
    size = sum(parameter.numel() for parameter in get_parameters(model))
    print(f"A transformer of {size:,} numbers learns to write words backwards, in tinygrad on {DEVICE}.")
    print(f"{TRAIN:,} words to learn from, {UNSEEN} to test on; a blind guess loses {math.log(len(ALPHABET)):.3f}.\n")
    write = writer(model)
    before, began = write(unseen), time.perf_counter()
    for number, loss in enumerate(train(model, seen, steps, rng), start=1):
        if number in (1, steps) or number % (10 if verbose else 100) == 0:
            print(f"  step {number:4}  loss {loss:6.3f}  {time.perf_counter() - began:5.1f} s", flush=True)
    written, chance = write(unseen), np.mean([len(string.ascii_lowercase) ** -len(word) for word in unseen])
    print(f"\nUnseen words wholly right: {exact(unseen, written):.1%}")
    print(f"  (untrained {exact(unseen, before):.1%}, letters at random {chance:.4%})")
    for word, row in zip(unseen[:5], written, strict=False):
        print(f"  {word:{LONGEST}} -> {decode(row)}")
    if verbose:
        show_inside(model, max(unseen[:5], key=len))
    save(model, path)
    reloaded = Transformer(np.random.default_rng(seed + 1))
    load(reloaded, path)
    again = writer(reloaded)(unseen)
    print(f"\nSaved to {path}, and reloaded into a new model, which writes, one by one:")
    print(f"  {unseen[0]:{LONGEST}} -> {' '.join(ALPHABET[token] for token in again[0, 1 : len(unseen[0]) + 2])}")
    print(f"  {(again == written).sum():,} of {written.size:,} tokens are the same as before.")


def main() -> None:
    parser = argparse.ArgumentParser(description="The whole transformer in one file: train it, test it, save it.")
    parser.add_argument("-v", "--verbose", action="store_true", help="shapes, more losses, and a picture of attention")
    parser.add_argument("--steps", type=int, default=400, help="of training (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of words and weights (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="the file to save to (default: a temporary one)")
    arguments = parser.parse_args()
    if arguments.steps < 1 or arguments.seed < 0 or not (arguments.out or Path()).parent.is_dir():
        parser.error("--steps must be at least 1, --seed at least 0, and the folder of --out must be there")
    try:
        with tempfile.TemporaryDirectory() as folder, Context(NOOPT=1):  # better kernels take longer than they save
            path = arguments.out or Path(folder) / "transformer.safetensors"
            story(arguments.steps, arguments.seed, path, arguments.verbose)
    except (ClearformerError, OSError, SafetensorError) as error:
        sys.exit(f"transformer.py: {error}")
    except KeyboardInterrupt:
        sys.exit("\ntransformer.py: stopped before the end.")


if __name__ == "__main__":
    main()
