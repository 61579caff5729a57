"""What the optimizers of every engine share: which one moves a parameter, what it remembers of it, Muon's numbers.

optimizer.safetensors    NAME.exp_avg  NAME.exp_avg_sq  NAME.step    or    NAME.momentum_buffer
"""

from collections.abc import Mapping

from clearformer.config import TrainConfig

MEMORY = {"adamw": {"step": False, "exp_avg": True, "exp_avg_sq": True}, "muon": {"momentum_buffer": True}}
"""what each optimizer remembers of a parameter, and whether it has the parameter's shape"""

MOMENTUM = 0.95
"""Muon's"""
ITERATION = 3.4445, -4.7750, 2.0315
"""Jordan's a, b, c of X = a X + (b X Xᵀ + c (X Xᵀ)²) X, steep at zero"""
ITERATIONS = 5


def optimizer_of(name: str, shape: tuple[int, ...], config: TrainConfig) -> str:
    """Which optimizer moves a parameter: "muon", if it was asked for, a matrix inside a layer, "adamw" all else."""
    return "muon" if config.optimizer == "muon" and ".layers." in name and len(shape) == 2 else "adamw"


def decays(shape: tuple[int, ...]) -> bool:
    """Only matrices do: a bias or a norm's weight near zero is no simpler than one far from it."""
    return len(shape) >= 2


def optimizer_shapes(shapes: Mapping[str, tuple[int, ...]], config: TrainConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all that is remembered once a step was made, from the parameters' names and shapes."""
    return {
        f"{name}.{key}": shape if like_parameter else ()
        for name, shape in shapes.items()
        for key, like_parameter in MEMORY[optimizer_of(name, shape, config)].items()
    }
