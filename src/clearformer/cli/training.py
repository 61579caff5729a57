"""What the commands that train share: to the last step, or to a signal."""

from clearformer.cli.arguments import say
from clearformer.cli.display import Display, TrainingDetails
from clearformer.cli.signals import stop_on_signals
from clearformer.engine import open_engine
from clearformer.inspection.report import write_run_report
from clearformer.models.initial import count_parameters
from clearformer.runs.folder import Run
from clearformer.runs.session import train_run


def train_to_end(run: Run) -> int:
    """Train with a bar; 0 at the end, or 128 + the signal that stopped it, the step just done being saved."""
    config, where = run.config, open_engine(run.config.engine).describe(run.config)
    say(f"{run.folder}: a {config.model.kind} of {count_parameters(config.model):,} parameters on {where}")
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
    if stop.signal and step < config.train.steps:
        say(f"stopped after step {step}, which is saved; go on with: clearformer resume {run.folder}")
        return 128 + stop.signal
    if not step:
        say(f"all {config.train.steps} steps are done already")
    return 0


def train_and_report(run: Run) -> int:
    """Train to the end, then write the run's report and say what to do next."""
    code = train_to_end(run)
    if code == 0:
        write_run_report(run)
        say(f"see {run.folder / 'report.html'}, or type: clearformer evaluate {run.folder}")
    return code
