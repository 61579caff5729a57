"""Refuse configurations that an engine does not support, before anything is computed."""

from collections.abc import Iterable

from clearformer.config import EngineName, ModelConfig
from clearformer.errors import ConfigError


def require_supported(
    engine: EngineName, config: ModelConfig, families: Iterable[type[ModelConfig]], **supported: Iterable[str]
) -> None:
    """Raise ConfigError if the engine does not support the model's family or the value of a setting in `supported`."""
    if type(config) not in families:
        kinds = ", ".join(family.kind for family in families)
        raise ConfigError(
            f"a model of {kinds} was expected with --engine {engine}, found {config.kind}; compute with --engine torch"
        )
    for setting, values in supported.items():
        if (found := getattr(config, setting)) not in values:
            raise ConfigError(
                f"--model.{setting.replace('_', '-')} must be one of {', '.join(values)} with --engine {engine}, found "
                f"{found}; change it, or compute with --engine torch"
            )
