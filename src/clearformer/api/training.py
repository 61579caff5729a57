"""Train a run: choose a configuration, create the folder, show progress, stop gracefully, write the report."""

import dataclasses
import difflib
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from clearformer.api.display import Display, TrainingDetails, Working, say
from clearformer.api.run import Run
from clearformer.api.signals import stop_on_signals
from clearformer.api.trackers import TrackerName, require_trackers, tracking
from clearformer.config import Config, EngineName
from clearformer.engine import open_engine
from clearformer.errors import ConfigError, RunError
from clearformer.models.initial import count_parameters
from clearformer.recipes import RECIPES, recipe_for
from clearformer.runs.checkpoint import newest_step
from clearformer.runs.folder import RunFolder, create_folder, is_made_of, open_folder
from clearformer.runs.splits import Notify
from clearformer.training.processes import ALONE, Processes, is_first, joined, launched

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
    log: Sequence[TrackerName] = (),
) -> Run:
    """Train a recipe, a .toml or .json configuration, or a `Config`, and return the run.

    `data` replaces the recipe's data by files; without a recipe, a suitable configuration is chosen for them. `out` is
    the run's folder, by default runs/RECIPE, or runs/RECIPE-2 and so on if that is in use. `steps`, `seed` and `engine`
    override the recipe; to change more, pass a `Config`. `log` names "tensorboard" or "wandb" to log there too. Raises
    ConfigError, DataError or RunError for invalid arguments; KeyboardInterrupt if interrupted, after saving the step
    just done: `open_run(...).resume()` continues.
    """
    require_trackers(log)
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
    run, stopped = train_and_report(
        lambda processes: (create_run(config, Path(out) if out else unused_folder(name), processes), log)
    )
    if stopped:
        raise KeyboardInterrupt
    return run


def create_run(config: Config, folder: Path, processes: Processes = ALONE) -> Run:
    """Create the folder of a new run, in the first of several processes, and print what its training will cost.

    Where torchrun started the processes, it may start them again: a run of the same configuration in the folder is
    opened. Raises ConfigError if the engine does not support the configuration, before anything is read or written.
    """
    _require_launcher(config)
    processes.require_same("configuration", config.to_json())
    open_engine(config.engine).describe(config)
    if processes.rank > 0:
        return Run.from_folder(open_folder(Path(processes.texts("")[0]), say))
    restarted = launched() and (folder / "config.json").exists()
    run = _reopened(config, folder) if restarted else _created(config, folder)
    processes.texts(str(folder))
    return run


def _created(config: Config, folder: Path) -> Run:
    from clearformer.runs.plan import plan_run

    working = Working()
    try:
        run = Run.from_folder(create_folder(folder, config, say, working))
    finally:
        working.close()
    say(f"plan{'' if config.train.parallel == 'none' else ' for one process'}: {plan_run(run)}")
    return run


def _reopened(config: Config, folder: Path) -> Run:
    run = Run.from_folder(open_folder(folder, say))
    if not is_made_of(run.config, config):
        raise RunError(
            f"a run of the configuration typed was expected in {folder}, found one of another; go on with that one by: "
            f"clearformer resume {folder}, or choose another --out"
        )
    say(f"{folder} holds a run of this configuration, which goes on")
    return run


def _require_launcher(config: Config) -> None:
    """Raise ConfigError if torchrun is needed and did not start this process, or the reverse."""
    together, processes = config.train.parallel != "none", int(os.environ.get("WORLD_SIZE", 1))
    if together and not launched():
        module = "-m clearformer" if Path(sys.argv[0]).name in ("clearformer", "__main__.py") else sys.argv[0]
        raise ConfigError(
            f"processes started by torchrun were expected, as --train.parallel is {config.train.parallel}, found one "
            f"without it; type: torchrun --nproc-per-node 2 {module} {shlex.join(sys.argv[1:])}"
        )
    if not together and launched() and processes > 1:
        raise ConfigError(
            f"one process was expected, as --train.parallel is none, but torchrun started {processes}; "
            "add --train.parallel ddp"
        )


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


def train_to_end(run: RunFolder, processes: Processes = ALONE, log: Sequence[TrackerName] = ()) -> int:
    """Train with a progress bar; return 0, or the number of the signal that stopped it after saving the last step.

    Several `processes` stop after the same step, when one of them has received a signal.
    """
    from clearformer.api.samples import Sampled
    from clearformer.runs.session import is_finished, stopped_since, train_run

    config, device = run.config, open_engine(run.config.engine).describe(run.config)
    together = f", in {processes.size} processes" if processes.size > 1 else ""
    say(f"{run.folder}: a {config.model.kind} of {count_parameters(config.model):,} parameters on {device}{together}")
    step, stopped, details, sampled = 0, 0, TrainingDetails(), Sampled(run)
    with stop_on_signals() as stop, tracking(run, log if processes.rank == 0 else ()) as track:
        session = train_run(run, processes)
        with Display(run.folder.name, config.train.steps) as display:
            for update in session:
                step = update.record.step
                display.show(step, details(update))
                track(update, sampled(update))
                if (stopped := processes.largest(stop.signal)) and step < config.train.steps:
                    session.close()
                    break
        finished = processes.of_first(lambda: is_finished(run))
    if stopped and not finished:
        say(f"stopped after step {step}, which is saved; continue with: clearformer resume {run.folder}")
        return stopped
    reason = f", since {stopped_since(run)}" if (newest_step(run.checkpoints) or 0) < config.train.steps else ""
    if not step:
        say(f"training is done already, at step {newest_step(run.checkpoints)}{reason}")
    elif reason:
        say(f"stopped at step {step}{reason}")
    if (best := newest_step(run.best)) is not None:
        say(f"the best validation loss was that of step {best}; --checkpoint best uses its weights")
    return 0


def train_and_report(open_or_create: Callable[[Processes], tuple[Run, Sequence[TrackerName]]]) -> tuple[Run, int]:
    """Train a run as `train_to_end` does, in all processes that torchrun started; return it, and the signal or 0.

    `open_or_create` gives the run, and where to log to. At the end the first process writes the report and prints the
    next commands.
    """
    with joined() as processes:
        run, log = open_or_create(processes)
        run.unload_model()
        stopped = train_to_end(run, processes, log)
    if not stopped and is_first():
        from clearformer.inspection.report import write_run_report

        write_run_report(run)
        say(f"see {run.folder / 'report.html'}, or type: clearformer evaluate {run.folder}")
    return run, stopped
