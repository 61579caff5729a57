"""What an engine does not do is refused by name before anything is computed, never left out in silence."""

from collections.abc import Iterable

from clearformer.config import EngineName, ModelConfig
from clearformer.errors import ConfigError


def require_known(
    engine: EngineName, config: ModelConfig, families: Iterable[type[ModelConfig]], **known: Iterable[str]
) -> None:
    """Raise ConfigError where the family, or a setting of the model, is none of those that the engine knows."""
    if type(config) not in families:
        kinds = ", ".join(family.kind for family in families)
        raise ConfigError(
            f"a model of {kinds} was expected with --engine {engine}, found {config.kind}; compute with --engine torch"
        )
    for setting, values in known.items():
        if (found := getattr(config, setting)) not in values:
            raise ConfigError(
                f"--model.{setting.replace('_', '-')} must be one of {', '.join(values)} with --engine {engine}, found "
                f"{found}; change it, or compute with --engine torch"
            )
