"""The compiled library: its structs, and its functions with their arguments. The C files say what each does."""

import ctypes
import functools
from ctypes import (
    POINTER,
    Structure,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_uint32,
    c_void_p,
)
from pathlib import Path

from clearformer.config import AnyModelConfig, BERTConfig, ClassifierConfig, TransformerConfig
from clearformer.engines import compiler
from clearformer.errors import EngineError

FOLDER = Path(__file__).parent
TOKENIZER_PARTS = (
    "characters.c", "graphemes.c", "matching.c", "parts.c", "steps.c", "around.c", "imported.c", "vocabulary.c",
    "added.c", "normalizer.c", "canonical.c", "charsmap.c", "pieces.c", "subwords.c", "tokenizer.c", "detokenizer.c",
)  # fmt: skip
PARTS = (
    "embedding.c", "norm.c", "linear.c", "attention.c", "activations.c", "dropout.c", "layers.c", "model.c", "room.c",
    "families.c", "training.c", "loss.c", "optimizer.c", "muon.c", "cache.c", "summary.c", "touch.c", "fault.c",
    "json.c", "configuration.c", "safetensors.c", "loading.c", *TOKENIZER_PARTS,
)  # fmt: skip
THREADS = "-fopenmp"

FAMILIES = ("transformer", "gpt", "bert", "classifier")
NORMS = ("layer", "rms", "none")
ACTIVATIONS = ("relu", "gelu", "squared_relu", "gelu_tanh", "swiglu", "geglu", "geglu_tanh")
POSITIONS = ("sinusoidal", "learned", "rotary", "alibi", "relative", "none")
POOLINGS = ("first", "last", "mean")
"""names in the order of the enums in transformer.h"""


class Config(Structure):
    """`config` of transformer.h."""

    _fields_ = (
        *((name, c_int32) for name in (
            "family", "V", "context", "D", "H", "G", "L", "F", "C", "segments", "ngram_buckets", "window", "norm_kind",
            "post_norm", "activation", "positions", "bias", "scale_embeddings", "tie_embeddings", "qk_norm",
            "causal_body", "pooling", "output_bias", "E", "rotary_context",
        )),
        ("logit_cap", c_float), ("norm_epsilon", c_float),
        *((name, c_double) for name in ("rotary_base", "rotary_factor", "rotary_low", "rotary_high")),
    )  # fmt: skip


class Tensor(Structure):
    """`tensor`."""

    _fields_ = (("name", c_char_p), ("rows", c_int64), ("columns", c_int64), ("at", c_void_p))


class Cache(Structure):
    """`cache`."""

    _fields_ = (
        *((name, c_int64) for name in ("B", "capacity", "M", "S")),
        *((name, c_void_p) for name in ("lengths", "sources", "tokens", "keys", "values", "memory_keys_values")),
    )


class Batch(Structure):
    """`batch`."""

    _fields_ = (
        ("B", c_int64), ("T", c_int64), ("tokens", c_void_p), ("segments", c_void_p), ("real", c_void_p),
        ("past", POINTER(Cache)),
    )  # fmt: skip


class Memory(Structure):
    """`memory`."""

    _fields_ = (("S", c_int64), ("at", c_void_p), ("real", c_void_p))


class Place(Structure):
    """`place`."""

    _fields_ = (
        ("name", c_char * 96),
        *((name, c_int64) for name in ("length", "number", "heads", "tokens", "columns")),
    )


class Range(Structure):
    """`range`."""

    _fields_ = (("first", c_int64), ("end", c_int64))


class Touch(Structure):
    """`touch`."""

    _fields_ = (
        ("action", c_int32), ("factor", c_float), ("place", c_int64),
        *((name, Range) for name in ("heads", "tokens", "columns")), ("B", c_int64), ("at", c_void_p),
    )  # fmt: skip


class Update(Structure):
    """`update`."""

    _fields_ = (
        ("size", c_int64),
        *((name, c_void_p) for name in ("w", "g", "m", "v")),
        *((name, c_float) for name in ("keep", "correction", "rate")),
    )


class Objective(Structure):
    """`objective`."""

    _fields_ = (("targets", c_void_p), ("scale", c_float), ("smoothing", c_float), ("token_loss", c_int32))


class Json(Structure):
    """`json` of json.h."""

    _fields_ = (("at", c_void_p), ("end", c_void_p))


INFERENCE, LOSS, TRAINING = range(3)
"""purposes of a room"""
KEEP, SCALE, PUT = range(3)
"""actions of a touch"""

FAULT_SIZE = 320
"""of fault.h"""

MODEL = ROOM = FLOATS = c_void_p
FUNCTIONS = {
    "num_threads": (c_int32,),
    "model_bytes": (c_int64, POINTER(Config)),
    "find_model": (MODEL, POINTER(Config), c_void_p, POINTER(Tensor), c_int64, POINTER(c_char)),
    "make_room": (c_int64, MODEL, c_int64, c_int64, c_int64, c_int64, c_int32, c_void_p, POINTER(ROOM)),
    "encoder_features": (FLOATS, MODEL, POINTER(Batch), ROOM),
    "decoder_features": (FLOATS, MODEL, POINTER(Batch), POINTER(Memory), ROOM),
    "token_logits": (None, MODEL, c_int64, FLOATS, FLOATS, ROOM),
    "class_logits": (None, MODEL, POINTER(Batch), FLOATS, FLOATS, ROOM),
    "remember": (None, MODEL, c_int64, POINTER(Memory), c_void_p, ROOM),
    "reorder_cache": (None, POINTER(Config), POINTER(Cache), c_void_p, POINTER(Cache)),
    "summarize": (None, c_int64, c_int64, c_void_p, c_int64, c_void_p, c_void_p),
    "end_of_places": (c_int64, MODEL),
    "find_place": (c_int32, MODEL, c_int64, c_int64, c_int64, POINTER(Place)),
    "set_touches": (None, ROOM, POINTER(Touch), c_int64),
    "set_dropout": (None, ROOM, c_float, c_uint32),
    "loss_of": (c_double, MODEL, MODEL, POINTER(Batch), POINTER(Batch), POINTER(Objective), ROOM),
    "muon_size": (c_int64, c_int64, c_int64),
    "muon": (
        None,
        c_int64,
        c_int64,
        FLOATS,
        FLOATS,
        FLOATS,
        c_float,
        c_float,
        c_float,
        POINTER(c_float),
        c_int64,
        FLOATS,
    ),
    "adamw": (None, c_int64, POINTER(Update), c_float, c_float, c_float),
    "json_valid": (c_int32, Json),
    "json_kind": (c_char, Json),
    "json_is": (c_int32, Json, c_char_p),
    "json_equals": (c_int32, Json, c_char_p),
    "json_first": (Json, Json),
    "json_next": (Json, Json, Json),
    "json_field": (Json, Json, c_char_p),
    "json_string": (c_int64, Json, c_void_p, c_int64),
    "json_number": (c_double, Json),
    "json_count": (c_int64, Json),
    "read_configuration": (c_int32, Json, POINTER(Config), c_void_p),
    "open_model": (c_int64, c_char_p, c_int64, c_void_p, c_int64, c_void_p, c_void_p),
    "check_tokens": (c_int32, MODEL, c_void_p, c_int64, c_int64, c_void_p),
    "check_segments": (c_int32, MODEL, c_void_p, c_int64, c_void_p),
    "read_tokenizer": (c_int64, c_char_p, c_int64, c_char_p, c_int64, c_void_p, c_void_p),
    "most_tokens": (c_int64, c_void_p, c_int64),
    "is_never_written": (c_int32, c_void_p, c_int32),
    "encode_text": (c_int64, c_void_p, c_char_p, c_int64, c_void_p, c_void_p),
    "decode_tokens": (c_int64, c_void_p, c_void_p, c_int64, c_void_p, c_void_p),
}
"""result and arguments of each function"""


def threads() -> int:
    """The number of threads, which OMP_NUM_THREADS in the environment limits."""
    count: int = library()[0].num_threads()
    return count


@functools.cache
def library() -> tuple[ctypes.CDLL, str]:
    """The compiled engine, and the name of its compiler. Raises EngineError if it cannot be compiled."""
    try:
        compiled, name = compiler.load("transformer", [FOLDER / part for part in PARTS], [THREADS])
    except EngineError as error:
        raise EngineError(
            f"a C compiler was expected for --engine c, but: {error}; install gcc or clang, or the Python package: "
            'pip install "clearformer[c]"'
        ) from error
    for function, (result, *arguments) in FUNCTIONS.items():
        getattr(compiled, function).restype, getattr(compiled, function).argtypes = result, arguments
    return compiled, name


def c_config(config: AnyModelConfig) -> Config:
    """A configuration as C knows it."""
    classifier = config if isinstance(config, ClassifierConfig) else None
    return Config(
        family=FAMILIES.index(config.kind),
        V=config.vocab_size,
        context=config.context,
        D=config.d_model,
        H=config.num_heads,
        G=config.kv_heads,
        L=config.num_layers,
        F=config.d_ff,
        C=classifier.num_classes if classifier else 0,
        segments=config.segments if isinstance(config, BERTConfig | ClassifierConfig) else 0,
        ngram_buckets=config.ngram_buckets,
        window=config.window,
        norm_kind=NORMS.index(config.norm),
        post_norm=config.norm_order == "post",
        activation=ACTIVATIONS.index(config.activation),
        positions=POSITIONS.index(config.positions),
        bias=config.bias,
        scale_embeddings=config.scale_embeddings,
        tie_embeddings=config.tie_embeddings,
        qk_norm=config.qk_norm,
        causal_body=classifier is not None and classifier.body == "gpt",
        pooling=POOLINGS.index(classifier.pooling) if classifier else 0,
        output_bias=isinstance(config, TransformerConfig) and config.output_bias,
        E=config.key_width,
        logit_cap=config.logit_cap,
        norm_epsilon=config.norm_epsilon,
        rotary_context=config.rotary_context,
        rotary_base=config.rotary_base,
        rotary_factor=config.rotary_factor,
        rotary_low=config.rotary_low,
        rotary_high=config.rotary_high,
    )
