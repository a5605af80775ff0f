"""A campaign of related compounds, each from the foundation or from what the others have taught.

    python benchmarks/class_campaign.py --json campaign.json --resume runs/
    python benchmarks/class_campaign.py --family salts --to local --resume runs/

Both ways on both engines: ``onfly submit --to local`` with the embedded store, and
``--to fireworks`` with two workers on a server that speaks MongoDB's protocol. Metals and ordered
alloys have the toy potential as student and EMT as teacher, salts have CHGNet and CHGNet-r2SCAN.
The teacher is evaluated at every step. What is in the folder of ``--resume`` goes on where it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import yaml
from ase import Atoms
from ase.build import bulk
from common import Report, arguments
from fireworks import LaunchPad
from truth import figures
from truth_cases import CHGNET, EMT, R2SCAN
from truth_runs import Teacher, true_frames

from classes import ROCKSALT
from onfly.artifacts.workspace import RunWorkspace
from onfly.schemas import to_structure
from onfly.testing.mongo import MongoAddress, mongo_address

METALS = {"Cu": 3.61, "Ag": 4.09, "Au": 4.08, "Ni": 3.52, "Pd": 3.89, "Pt": 3.92, "Al": 4.05}
CRYSTALS = ROCKSALT | {"LiBr": 5.50, "KBr": 6.60, "SrO": 5.16}
BIN = Path(sys.executable).parent
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Family:
    """Compounds and potentials.

    Parameters
    ----------
    student
        Foundation.
    teacher
        As `truth_runs.Teacher` names it.
    labeller
        The same as a labeller of a campaign.
    settings
        Keys of the campaign's file.
    """

    student: str
    teacher: str
    labeller: dict[str, Any]
    settings: dict[str, Any]


TOYS = Family(
    "toy", EMT, {"name": "emt"},
    {
        "threshold": "50 meV",
        "stages": [{"n_steps": 100, "temperature": 300, "time_step": 2.0}],
        "posterior": {"kind": "last_layer", "n_steps": 100},
    },
)  # fmt: skip
SALTS = Family(
    CHGNET, R2SCAN,
    {
        "name": "ase",
        "kwargs": {
            "calculator": "truth_runs.TeacherCalculator",
            "calculator_kwargs": {"source": R2SCAN},
        },
    },
    {
        "threshold": "20 meV",
        "stages": [{"n_steps": 200, "temperature": 600, "time_step": 2.0}],
    },
)  # fmt: skip


def metals(n: int) -> list[Atoms]:
    """Return fcc metals and ordered alloys of four sites, the metals first."""
    pairs = [(a, b) for a in METALS for b in METALS]
    pairs.sort(key=lambda pair: pair[0] != pair[1])
    found = []
    for host, guest in pairs[:n]:
        atoms = bulk(host, "fcc", (METALS[host] + METALS[guest]) / 2, cubic=True)
        atoms.symbols[0] = guest
        found.append(atoms)
    return found


def salts(n: int) -> list[Atoms]:
    """Return rock-salt crystals of eight atoms."""
    return [bulk(f, "rocksalt", a=a, cubic=True) for f, a in list(CRYSTALS.items())[:n]]


@contextmanager
def workers(folder: Path, address: tuple[str, int], environment: dict[str, str]) -> Iterator[Path]:
    """Start two workers of FireWorks; yield the file of the LaunchPad."""
    place = {"host": address[0], "port": address[1]}
    pad = folder / "my_launchpad.yaml"
    quick = {"directConnection": True}
    pad.write_text(yaml.safe_dump({**place, "name": "campaign", "mongoclient_kwargs": quick}))
    worker = folder / "my_fworker.yaml"
    # without a category it takes all jobs
    worker.write_text(yaml.safe_dump({"name": "both", "category": "", "query": "{}"}))
    if not (folder / "reset").exists():
        LaunchPad.from_file(str(pad)).reset("", require_password=False)
        (folder / "reset").touch()
    started = []
    try:
        for number in range(2):
            place_of = folder / f"worker{number}-{time.time_ns()}"
            place_of.mkdir()
            with (place_of / "log").open("w") as log:
                words = [str(BIN / "rlaunch"), "-l", str(pad), "-w", str(worker), "rapidfire"]
                words += ["--nlaunches", "infinite", "--sleep", "1"]
                started.append(
                    subprocess.Popen(
                        words, cwd=place_of, env=environment, stdout=log, stderr=subprocess.STDOUT
                    )
                )
        yield pad
    finally:
        for process in started:
            process.kill()
            process.wait()


def finished(pad: Path, seconds: float) -> None:
    """Wait until all workflows of a LaunchPad are at their end."""
    launchpad = LaunchPad.from_file(str(pad))
    deadline = time.monotonic() + seconds
    while True:
        states = {doc["state"] for doc in launchpad.workflows.find({}, {"state": 1})}
        if states <= {"COMPLETED", "FIZZLED", "DEFUSED"}:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not done after {seconds:.0f} s: {states}")
        time.sleep(1.0)


def one_campaign(
    family: Family, structures: list[Atoms], engine: str, way: str, args: Any
) -> list[RunWorkspace]:
    """Do one campaign, and return its runs."""
    folder = args.folder / f"{args.family}-{engine}-{way}"
    folder.mkdir(parents=True, exist_ok=True)
    settings = family.settings | {"foundation_model": family.student, "labeller": family.labeller}
    settings |= {"traj_interval": 1, "seed": args.seed}
    if args.no_proof:
        settings["proof"] = {"attempts": 0}
    if way == "class":
        fit = {"n_steps": args.fit_steps, "replay": args.replay, "folds": args.folds}
        settings["class_model"] = {"name": "related", "every": args.every, "fit": fit}
    shaken = []
    for number, atoms in enumerate(structures):
        atoms = atoms.copy()
        atoms.rattle(0.02, seed=args.seed + number)
        shaken.append(to_structure(atoms).as_dict())
    (folder / "structures.json").write_text(json.dumps(shaken))
    content = {"campaign": way, "structures": {"pymatgen": "structures.json"}, **settings}
    content["mode"] = "resident" if engine == "local" else "chained"
    file = folder / "campaign.yaml"
    file.write_text(yaml.safe_dump(content))
    # of this process as well, which looks for class models when it evaluates the runs
    os.environ |= {
        "ONFLY_ARTIFACT_DIR": str(folder / "artifacts"),
        "ONFLY_STORE_DIR": str(folder / "store"),
    }
    environment = os.environ | {"ONFLY_N_WORKERS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE), environment.get("PYTHONPATH", "")])
    with ExitStack() as stack:
        words = [str(BIN / "onfly"), "submit", str(file), "--to", engine]
        if engine == "local":
            words.append("--quiet")
        else:
            uri = stack.enter_context(mongo_address(folder / "server"))
            address = MongoAddress(uri, "campaign_jobs")
            environment["ONFLY_JOB_STORE"] = json.dumps(address.job_store_spec())
            pad = stack.enter_context(workers(folder, address.host_port, environment))
            words += ["--launchpad", str(pad)]
        with (folder / "log").open("a") as log:
            done = subprocess.run(
                words,
                env=environment,
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode not in (0, 4):
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: see {folder}/log")
        if engine != "local":
            finished(pad, args.hours * 3600)
    runs = sorted((folder / "artifacts" / "runs").iterdir())
    return [RunWorkspace(folder / "artifacts", path.name) for path in runs]


def row_of(family: Family, runs: list[RunWorkspace]) -> dict[str, Any]:
    """Return totals over the runs of a campaign."""
    teacher = Teacher(family.teacher)
    rows = []
    for workspace in runs:
        state = workspace.read_state()
        rows.append(figures(state, workspace, true_frames(state, workspace, teacher)))
    true = [row["true_run"] for row in rows if row["true_run"] is not None]
    sums = {
        key: sum(row.get(key) or 0 for row in rows)
        for key in ("labels", "labels_before", "calls", "waits", "updates")
    }
    return {
        "compounds": len(rows),
        "ready": sum(row["verdict"] == "ready" for row in rows),
        **sums,
        "waits_longest": max(row["waits"] for row in rows),
        "true": sum(true) / len(true),
        "true_worst": min(true),
        "cpu_md_s": sum(row["cpu_md_s"] for row in rows),
        "cpu_update_s": sum(row["cpu_update_s"] for row in rows),
    }


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--resume", help="folder; what is there is not done again")
    parser.add_argument("--family", choices=["metals", "salts"], default="metals")
    parser.add_argument("--compounds", type=int, default=12)
    parser.add_argument("--every", type=int, default=4, help="compounds between class updates")
    parser.add_argument("--to", help="engines, comma-separated; default: local,fireworks")
    parser.add_argument("--ways", default="foundation,class")
    parser.add_argument("--fit-steps", type=int, default=400)
    parser.add_argument("--replay", type=int, default=60, help="crystals")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--no-proof", action="store_true")
    parser.add_argument("--hours", type=float, default=10.0, help="that workers have at most")
    args = parser.parse_args()
    if args.quick:
        args.compounds, args.every, args.fit_steps, args.replay, args.folds = 2, 1, 20, 4, 0
        args.to, args.no_proof = args.to or "local", True
    family = TOYS if args.family == "metals" else SALTS
    structures = (metals if args.family == "metals" else salts)(args.compounds)
    report = Report("class_campaign", {k: str(v) for k, v in vars(args).items()})
    with ExitStack() as stack:
        if args.resume is None:
            args.resume = stack.enter_context(tempfile.TemporaryDirectory())
        args.folder = Path(args.resume).absolute()
        for engine in (args.to or "local,fireworks").split(","):
            for way in args.ways.split(","):
                begin = time.perf_counter()
                runs = one_campaign(family, structures, engine, way, args)
                wall = time.perf_counter() - begin
                report.add(engine=engine, start=way, wall_s=wall, **row_of(family, runs))
                if args.json:
                    report.write(args.json)
    report.finish(args.json)


if __name__ == "__main__":
    main()
