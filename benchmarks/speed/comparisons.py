"""What is compared, and the ratio that is aimed at."""

from itertools import product

from pairs import Comparison

TOKENS, SENTENCES = "tokens/s", "sentences/s"
WRITERS = ("clearformer", "clearformer c")
"""on a CPU `clearformer generate` and `translate` choose the faster of these by themselves"""

DEFAULT = {"precision": "float32"}
"""what a peer computes in unless it is told otherwise"""

COMPARISONS = [
    *(
        Comparison(
            "clearformer", "hugging_face", "training", {"size": size, "precision": precision}, TOKENS, aim, theirs
        )
        for size, precision, aim, theirs in (
            ("S", "float32", 1.5, {}),
            ("S", "bfloat16", 2.2, DEFAULT),
            ("S", "bfloat16", 1.0, {}),
            ("M", "float32", 2.0, {}),
            ("M", "bfloat16", 3.0, DEFAULT),
            ("M", "bfloat16", 1.0, {}),
        )
    ),
    Comparison("clearformer", "torch_nn", "training", {"size": "S", "precision": "float32"}, TOKENS, 1.0),
    *(
        Comparison(system, "hugging_face", "generation", {"size": size, "batch": batch}, TOKENS, aim)
        for (size, batch), aim in zip(product("MG", (1, 16)), (2.5, 2.4, 2.0, 2.5), strict=True)
        for system in WRITERS
    ),
    *(
        Comparison(
            "clearformer", "torch_nn", "training_pairs", {"size": size, "precision": precision}, TOKENS, aim, theirs
        )
        for size, precision, aim, theirs in (
            ("small", "float32", 1.5, {}),
            ("small", "bfloat16", 2.1, DEFAULT),
            ("small", "bfloat16", 1.0, {}),
            ("base", "float32", 1.6, {}),
            ("base", "bfloat16", 2.2, DEFAULT),
            ("base", "bfloat16", 1.0, {}),
        )
    ),
    *(
        Comparison(system, "hugging_face", "translation", {"size": size}, SENTENCES, aim)
        for size, aim in (("small", 2.5), ("base", 2.2))
        for system in WRITERS
    ),
    *(
        Comparison(
            f"clearformer {engine}", "clearformer", "training", {"size": "S", "precision": "float32"}, TOKENS, aim
        )
        for engine, aim in (("numpy", 0.5), ("c", 1.0))
    ),
    *(
        Comparison("clearformer", "x_transformers", "training", {"size": size, "precision": "float32"}, TOKENS, 1.0)
        for size in "SM"
    ),
    *(
        Comparison("clearformer c", peer, "generation", {"size": size, "batch": batch}, TOKENS, 1.0)
        for peer in ("x_transformers", "ctranslate2")
        for size, batch in product("MG", (1, 16))
    ),
    *(
        Comparison("clearformer", "joeynmt", "training_pairs", {"size": size, "precision": "float32"}, TOKENS, 1.0)
        for size in ("small", "base")
    ),
    *(
        Comparison("clearformer c", peer, "translation", {"size": size}, SENTENCES, 1.0)
        for peer in ("joeynmt", "ctranslate2")
        for size in ("small", "base")
    ),
]
