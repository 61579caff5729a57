"""Transfer: start training from the weights of an earlier run, matched by name.

    new run         earlier run
    body.X          X of a BERT or a GPT, body.X of a classifier       Devlin et al. 2018, arXiv:1810.04805, 4.1
    X               X of a run of the same family

The bodies must have the same shapes and settings: a weight used differently would be worse than a random one.
"""

from pathlib import Path

from clearformer.config import AnyModelConfig, ClassifierConfig, Config
from clearformer.errors import CheckpointError, ConfigError
from clearformer.models.initial import Shapes, count_parameters, initial_weights, parameter_shapes
from clearformer.runs.checkpoint import Checkpoint, load_average
from clearformer.runs.splits import Notify

OUTPUT_PREFIXES = ("output_projection.", "transform.", "transform_norm.", "class_projection.")
"""of parameters that are not part of the body"""
SETTINGS_WITHOUT_SHAPE = (
    "num_heads", "norm", "norm_order", "norm_epsilon", "activation", "positions", "rotary_base", "rotary_factor",
    "rotary_context", "rotary_low", "rotary_high", "scale_embeddings", "window",
)  # fmt: skip
"""settings that change what the weights compute, but not their shapes"""


def initial_checkpoint(config: Config, earlier: Config, folder: Path, notify: Notify) -> Checkpoint:
    """Random initial weights, replaced by the earlier run's trained ones where they match.

    Raises ConfigError if the models do not match, CheckpointError if the earlier run, in `folder`, has no checkpoint.
    """
    names = transferred_names(config.model, earlier.model)
    shapes, count = {"model": parameter_shapes(earlier.model)}, earlier.train.average_checkpoints
    found = load_average(folder / "checkpoints", shapes, count, notify)
    if found is None:
        raise CheckpointError(
            f"a checkpoint to start from was expected in {folder}, but none was saved yet; resume that run first"
        )
    transferred = {name: found.tensors["model"][source] for name, source in names.items()}
    notify(
        f"{sum(weight.size for weight in transferred.values()):,} of {count_parameters(config.model):,} parameters are "
        f"taken from {folder} at step {found.step:,}; the others are random"
    )
    return Checkpoint(found.step, {"model": initial_weights(config.model, config.train.seed) | transferred})


def transferred_names(config: AnyModelConfig, earlier: AnyModelConfig) -> dict[str, str]:
    """New name -> earlier name of each transferred parameter: the body and, within a family, the output layer.

    A class projection is never transferred, since the classes may differ. Raises ConfigError if the bodies differ.
    """
    new, old = _body_shapes(config), _body_shapes(earlier)
    if _family(config) != _family(earlier):
        raise ConfigError(
            f"a run with the body of a {_family(config)} was expected to start from, found one of a "
            f"{_family(earlier)}; start from another run"
        )
    for name in [*new, *old]:
        if new.get(name) != old.get(name):
            raise ConfigError(
                f"the sizes of the run to start from were expected, but {name} is {_shape(old.get(name))} there and "
                f"{_shape(new.get(name))} here; change --model to what that run's config.json says"
            )
    for setting in SETTINGS_WITHOUT_SHAPE:
        if getattr(config, setting) != getattr(earlier, setting):
            raise ConfigError(
                f"a model that computes as the run to start from does was expected, but its {setting} is "
                f"{getattr(earlier, setting)} and this one's {getattr(config, setting)}; "
                f"add --model.{setting.replace('_', '-')} {getattr(earlier, setting)}"
            )
    names = {_prefix(config) + name: _prefix(earlier) + name for name in new}
    if config.kind == earlier.kind and not isinstance(config, ClassifierConfig):
        names |= {name: name for name in parameter_shapes(config) if name in parameter_shapes(earlier)}
    return names


def _family(config: AnyModelConfig) -> str:
    return config.body if isinstance(config, ClassifierConfig) else config.kind


def _prefix(config: AnyModelConfig) -> str:
    return "body." if isinstance(config, ClassifierConfig) else ""


def _body_shapes(config: AnyModelConfig) -> Shapes:
    """Names, without prefix, and shapes of the body's parameters."""
    shapes = parameter_shapes(config).items()
    return {name.removeprefix("body."): shape for name, shape in shapes if not name.startswith(OUTPUT_PREFIXES)}


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(shape)
