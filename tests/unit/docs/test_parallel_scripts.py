"""The scripts for clusters are lines that torchrun and clearformer take."""

import shlex
from pathlib import Path

import pytest
import yaml
from torch.distributed.run import get_args_parser

from clearformer.cli.arguments import parse
from clearformer.cli.train import Train
from clearformer.recipes import RECIPES

SCRIPTS = Path(__file__).parents[3] / "docs" / "parallel"
VARIABLES = {"$SLURM_NNODES": "2", "$SLURM_JOB_ID": "7", "$head": "node1", "$1": "dates", "$2": "/shared/run"}


def slurm_line() -> list[str]:
    text = (SCRIPTS / "train.sbatch").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if line.startswith("srun torchrun")]
    for name, value in VARIABLES.items():
        line = line.replace(name, value)
    assert "$" not in line
    return shlex.split(line)[2:]


def kubernetes_line() -> list[str]:
    _, job = yaml.safe_load_all((SCRIPTS / "job.yaml").read_text(encoding="utf-8"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    torchrun, *line = container["command"]
    assert torchrun == "torchrun"
    return line


@pytest.mark.parametrize("line", [slurm_line, kubernetes_line])
def test_the_line_starts_processes_that_share_the_work_on_each_gpu(line):
    launch = get_args_parser().parse_args(line())
    assert (launch.nnodes, launch.nproc_per_node, launch.rdzv_backend) == ("2", "gpu", "c10d")
    assert launch.module
    assert launch.training_script == "clearformer"
    command, recipe, *options = launch.training_script_args
    assert command == "train"
    train = parse(Train, options, "train", Train(RECIPES[recipe]()))
    assert train.config.train.parallel == "ddp"
    assert train.out is not None, "a restart goes on in a folder that is named"


def test_the_pods_find_each_other_by_the_name_of_the_service():
    service, job = yaml.safe_load_all((SCRIPTS / "job.yaml").read_text(encoding="utf-8"))
    launch = get_args_parser().parse_args(kubernetes_line())
    host = f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert launch.rdzv_endpoint.split(":")[0] == host
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert int(launch.nnodes) == job["spec"]["completions"] == job["spec"]["parallelism"]
