"""Shared by the optimizers of all engines: which one updates a parameter, the state they keep, Muon's constants.

optimizer.safetensors    NAME.exp_avg  NAME.exp_avg_sq  NAME.step    or    NAME.momentum_buffer
"""

from collections.abc import Mapping

from clearformer.config import TrainConfig

STATE = {"adamw": {"step": False, "exp_avg": True, "exp_avg_sq": True}, "muon": {"momentum_buffer": True}}
"""the state of each optimizer per parameter; True: of the parameter's shape, False: a scalar"""

MOMENTUM = 0.95
"""of Muon"""
NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315
"""a, b, c of the iteration X = a X + (b X Xᵀ + c (X Xᵀ)²) X, chosen by Jordan to be steep at zero"""
NEWTON_SCHULZ_STEPS = 5


def optimizer_of(name: str, shape: tuple[int, ...], config: TrainConfig) -> str:
    """The optimizer of a parameter: "muon", if configured, for matrices inside the layers, else "adamw"."""
    return "muon" if config.optimizer == "muon" and ".layers." in name and len(shape) == 2 else "adamw"


def decays(shape: tuple[int, ...]) -> bool:
    """Whether weight decay applies: to matrices and tables, not to biases and the weights of norms."""
    return len(shape) >= 2


def optimizer_shapes(shapes: Mapping[str, tuple[int, ...]], config: TrainConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the state after a step, from the names and shapes of the parameters."""
    return {
        f"{name}.{key}": shape if like_parameter else ()
        for name, shape in shapes.items()
        for key, like_parameter in STATE[optimizer_of(name, shape, config)].items()
    }
