"""Train a run: choose a configuration, create the folder, show progress, stop gracefully, write the report."""

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path

from clearformer.api.display import Display, TrainingDetails, Working, say
from clearformer.api.run import Run
from clearformer.api.signals import stop_on_signals
from clearformer.config import Config, EngineName
from clearformer.engine import open_engine
from clearformer.errors import ConfigError
from clearformer.models.initial import count_parameters
from clearformer.recipes import RECIPES, recipe_for
from clearformer.runs.checkpoint import newest_step
from clearformer.runs.folder import RunFolder, create_folder
from clearformer.runs.splits import Notify

KIND_DESCRIPTIONS = {"text": "text", "pairs": "pairs of source and target", "labels": "texts with labels"}
"""what data files may contain"""


def train(
    recipe: str | Path | Config | None = None,
    *,
    data: str | Path | Sequence[str | Path] = (),
    out: str | Path | None = None,
    steps: int | None = None,
    seed: int | None = None,
    engine: EngineName | None = None,
) -> Run:
    """Train a recipe, a .toml or .json configuration, or a `Config`, and return the run.

    `data` replaces the recipe's data by files; without a recipe, a suitable configuration is chosen for them. `out` is
    the run's folder, by default runs/RECIPE, or runs/RECIPE-2 and so on if that is in use. `steps`, `seed` and `engine`
    override the recipe; to change more, pass a `Config`. Raises ConfigError, DataError or RunError for invalid
    arguments; KeyboardInterrupt if interrupted, after saving the step just done: `open_run(...).resume()` continues.
    """
    files = [Path(path) for path in ([data] if isinstance(data, str | Path) else data)]
    name, config = (recipe.dataset, recipe) if isinstance(recipe, Config) else choose_config(recipe or "", files, say)
    settings = config.train
    config = dataclasses.replace(
        config,
        data=tuple(map(str, files)) or config.data,
        engine=engine or config.engine,
        train=dataclasses.replace(
            settings,
            steps=settings.steps if steps is None else steps,
            seed=settings.seed if seed is None else seed,
        ),
    )
    return create_run(config, Path(out) if out else unused_folder(name)).resume()


def create_run(config: Config, folder: Path) -> Run:
    """Create the folder of a new run, and print what its training will cost.

    Raises ConfigError if the engine does not support the configuration, before anything is read or written.
    """
    from clearformer.runs.plan import plan_run

    open_engine(config.engine).describe(config)
    working = Working()
    try:
        run = Run.from_folder(create_folder(folder, config, say, working))
    finally:
        working.close()
    say(f"plan: {plan_run(run)}")
    return run


def choose_config(recipe: str | Path, files: Sequence[Path], notify: Notify) -> tuple[str, Config]:
    """Return a name for the run and a configuration: the recipe's, or one that suits the files.

    Raises ConfigError if neither is given, or for an unknown recipe.
    """
    if str(recipe):
        return Path(recipe).stem, _recipe(str(recipe))
    if not files:
        raise ConfigError(
            f"a recipe ({', '.join(RECIPES)}) or --data FILE was expected, found neither; name one after `train`"
        )
    from clearformer.data.load import data_size, guess_kind
    from clearformer.data.text_files import TextFiles, expand

    found = tuple(map(Path, expand(files)))
    kind = "pairs" if len(files) == 2 else guess_kind(found[0])
    name = " and ".join(path.name for path in files) if kind == "pairs" else TextFiles(found).name
    config = recipe_for(kind, name, data_size(found, kind))
    notify(f"{config.dataset}: read as {KIND_DESCRIPTIONS[kind]}, to train a {config.model.kind}")
    return found[0].name.split(".")[0] or "own", config


def _recipe(name: str) -> Config:
    if name in RECIPES:
        return RECIPES[name]()
    if Path(name).suffix in (".toml", ".json"):
        return Config.load(Path(name))
    near = [*difflib.get_close_matches(name, RECIPES, n=1), *[f"--data {name}"] * Path(name).exists()]
    hint = f"did you mean {near[-1]!r}" if near else "see clearformer recipes"
    raise ConfigError(f"a recipe ({', '.join(RECIPES)}) or a .toml or .json file was expected, found {name!r}; {hint}")


def unused_folder(name: str) -> Path:
    """Return runs/NAME, or runs/NAME-2 and so on if that is a run already."""
    folder = unused = Path("runs") / name
    number = 1
    while (unused / "config.json").exists():
        number += 1
        unused = folder.with_name(f"{folder.name}-{number}")
    return unused


def train_to_end(run: RunFolder) -> int:
    """Train with a progress bar; return 0, or the number of the signal that stopped it after saving the last step."""
    from clearformer.runs.session import is_finished, train_run

    config, device = run.config, open_engine(run.config.engine).describe(run.config)
    say(f"{run.folder}: a {config.model.kind} of {count_parameters(config.model):,} parameters on {device}")
    step, details = 0, TrainingDetails()
    with stop_on_signals() as stop:
        session = train_run(run)
        with Display(run.folder.name, config.train.steps) as display:
            for update in session:
                step = update.record.step
                display.show(step, details(update))
                if stop.signal and step < config.train.steps:
                    session.close()
                    break
    finished = is_finished(run)
    if stop.signal and not finished:
        say(f"stopped after step {step}, which is saved; continue with: clearformer resume {run.folder}")
        return stop.signal
    if not step:
        say(f"training is done already, at step {newest_step(run.checkpoints)}")
    elif step < config.train.steps:
        say(f"stopped at step {step}, since the validation loss is below {config.train.stop_below:g}")
    return 0


def train_and_report(run: Run) -> int:
    """Train as `train_to_end` does; at the end write the report and print the next commands."""
    from clearformer.inspection.report import write_run_report

    run.unload_model()
    stopped = train_to_end(run)
    if not stopped:
        write_run_report(run)
        say(f"see {run.folder / 'report.html'}, or type: clearformer evaluate {run.folder}")
    return stopped
