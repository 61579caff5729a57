"""Begin with what an earlier run has learned: its weights of the same names.

    here            there
    body.X          X of a BERT or a GPT, body.X of a classifier       Devlin et al. 2018, arXiv:1810.04805, 4.1
    X               X of a run of the same family

The bodies must be the same, and compute the same: a weight in another place would be worse than a random one.
"""

from pathlib import Path

from clearformer.config import AnyModelConfig, ClassifierConfig, Config
from clearformer.errors import CheckpointError, ConfigError
from clearformer.models.initial import Shapes, count_parameters, initial_weights, parameter_shapes
from clearformer.runs.checkpoint import Checkpoint, load_average
from clearformer.runs.splits import Notify

OUTPUTS = ("output_projection.", "transform.", "transform_norm.", "class_projection.")
"""beginnings of the names that are no part of the body"""
WITHOUT_SHAPE = ("num_heads", "norm", "norm_order", "activation", "positions", "scale_embeddings", "window")
"""settings that say what the same weights compute"""


def first_checkpoint(config: Config, earlier: Config, folder: Path, notify: Notify) -> Checkpoint:
    """Initial weights, in which those of the earlier run's trained model stand as far as the names are the same.

    Raises ConfigError where the models do not fit, CheckpointError if the earlier run, in `folder`, has no checkpoint.
    """
    names = taken_names(config.model, earlier.model)
    shapes, count = {"model": parameter_shapes(earlier.model)}, earlier.train.average_checkpoints
    found = load_average(folder / "checkpoints", shapes, count, notify)
    if found is None:
        raise CheckpointError(
            f"a checkpoint to start from was expected in {folder}, but none was saved yet; resume that run first"
        )
    taken = {name: found.tensors["model"][there] for name, there in names.items()}
    notify(
        f"{sum(weight.size for weight in taken.values()):,} of {count_parameters(config.model):,} parameters are "
        f"taken from {folder} at step {found.step:,}; the others begin at random"
    )
    return Checkpoint(found.step, {"model": initial_weights(config.model, config.train.seed) | taken})


def taken_names(config: AnyModelConfig, earlier: AnyModelConfig) -> dict[str, str]:
    """The name there of each parameter here that is taken: the whole body and, of the same family, the output.

    A class projection is never taken, since its classes may be others. Raises ConfigError where the bodies differ.
    """
    here, there = _body(config), _body(earlier)
    if _family(config) != _family(earlier):
        raise ConfigError(
            f"a run with the body of a {_family(config)} was expected to start from, found one of a "
            f"{_family(earlier)}; start from another run"
        )
    for name in [*here, *there]:
        if here.get(name) != there.get(name):
            raise ConfigError(
                f"the sizes of the run to start from were expected, but {name} is {_size(there.get(name))} there and "
                f"{_size(here.get(name))} here; change --model to what that run's config.json says"
            )
    for setting in WITHOUT_SHAPE:
        if getattr(config, setting) != getattr(earlier, setting):
            raise ConfigError(
                f"a model that computes as the run to start from does was expected, but its {setting} is "
                f"{getattr(earlier, setting)} and this one's {getattr(config, setting)}; "
                f"add --model.{setting.replace('_', '-')} {getattr(earlier, setting)}"
            )
    names = {_prefix(config) + name: _prefix(earlier) + name for name in here}
    if config.kind == earlier.kind and not isinstance(config, ClassifierConfig):
        names |= {name: name for name in parameter_shapes(config) if name in parameter_shapes(earlier)}
    return names


def _family(config: AnyModelConfig) -> str:
    return config.body if isinstance(config, ClassifierConfig) else config.kind


def _prefix(config: AnyModelConfig) -> str:
    return "body." if isinstance(config, ClassifierConfig) else ""


def _body(config: AnyModelConfig) -> Shapes:
    """Names without prefix, and shapes, of all but the output."""
    shapes = parameter_shapes(config).items()
    return {name.removeprefix("body."): shape for name, shape in shapes if not name.startswith(OUTPUTS)}


def _size(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(shape)
