"""What "ready" is worth: runs of the ledger alone, simulated by the thousand.

Three parts. ``guarantee``: error processes and models that improve, stay or get worse; how many
runs end "ready" although the model keeps its tolerance in less than the promised share of the
block's steps, beside the former rule (the first ten good audits in a row). ``power``: what a good
model pays. ``design``: other ways to test a block, at the same error probability.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from common import Report, arguments
from scipy.optimize import brentq
from scipy.signal import lfilter
from scipy.stats import norm

from onfly.proof import Look, ProofRule, draw_block

N_STEPS = 2000  # of a closing block
PROMISE = 0.9
CONFIDENCE = 0.95
IN_A_ROW = 10  # good audits: the former rule

Process = Callable[[np.random.Generator, int, int, float], np.ndarray]


def _scale(coverage: float) -> float:
    """Return the standard deviation of errors that exceed 1 in ``1 - coverage`` of the steps."""
    return 1 / norm.ppf(0.5 * (1 + coverage))


def constant(rng: np.random.Generator, runs: int, steps: int, coverage: float) -> np.ndarray:
    """Independent errors; failures of every step, shape (runs, steps)."""
    return np.abs(rng.standard_normal((runs, steps))) * _scale(coverage) > 1


def drifting(rng: np.random.Generator, runs: int, steps: int, coverage: float) -> np.ndarray:
    """Errors that grow fourfold along the block."""
    growth = np.linspace(0.4, 1.6, steps)

    def surplus(scale: float) -> float:
        return float(np.mean(2 * norm.cdf(1 / (scale * growth)) - 1)) - coverage

    scale = brentq(surplus, 1e-3, 100.0)
    return np.abs(rng.standard_normal((runs, steps))) * (scale * growth) > 1


def correlated(rng: np.random.Generator, runs: int, steps: int, coverage: float) -> np.ndarray:
    """AR(1) errors that remember some 200 steps: the coverage differs from block to block."""
    memory = 0.995
    noise = rng.standard_normal((runs, steps)) * np.sqrt(1 - memory**2)
    start = memory * rng.standard_normal((runs, 1))  # the stationary state
    errors, _ = lfilter([1.0], [1.0, -memory], noise, axis=1, zi=start)
    return np.abs(errors) * _scale(coverage) > 1


def event(rng: np.random.Generator, runs: int, steps: int, coverage: float) -> np.ndarray:
    """All failures in one stretch, as after a jump to a state that was not learned."""
    bad = np.ceil((1 - coverage) * steps)
    begin = rng.integers(0, steps - int(bad) + 1, size=(runs, 1))
    position = np.arange(steps)[None, :]
    return (position >= begin) & (position < begin + bad)


PROCESSES: dict[str, Process] = {
    "constant": constant,
    "drifting": drifting,
    "AR(1)": correlated,
    "one event": event,
}
# coverage of the weights that each closing block tests
MODELS = {
    "just below": (0.8995, 0.8995, 0.8995),
    "never improves": (0.85, 0.85, 0.85),
    "improves": (0.80, 0.89, 0.97),
    "gets worse": (0.93, 0.89, 0.85),
    "good": (0.99, 0.99, 0.99),
}


@dataclass
class Blocks:
    """Outcomes of closing blocks; arrays of shape (runs,)."""

    passed: np.ndarray
    audits: np.ndarray
    waits: np.ndarray


def decide(failed: np.ndarray, looks: Sequence[Look]) -> Blocks:
    """Judge blocks as `onfly.proof.closing_block` does; `failed` has shape (runs, all audits).

    The audits of the first look stand first. Those of a look that is reached are all paid.
    """
    runs = len(failed)
    passed, open_ = np.zeros(runs, bool), np.ones(runs, bool)
    audits, waits = np.zeros(runs, int), np.zeros(runs, int)
    for look in looks:
        audits[open_] = look.n
        waits[open_] += 1
        count = failed[:, : look.n].sum(axis=1)
        passed |= open_ & (count <= look.failures)
        open_ &= (count > look.failures) & (count <= looks[-1].failures)
    return Blocks(passed, audits, waits)


def audit(rng: np.random.Generator, failures: np.ndarray, looks: Sequence[Look]) -> np.ndarray:
    """Return the outcomes at random steps of every run, those of the first look first."""
    runs, steps = failures.shape
    drawn = np.array(
        [[s for look in draw_block(rng, steps, looks) for s in look] for _ in range(runs)]
    )
    return np.take_along_axis(failures, drawn, axis=1)


def close(
    rng: np.random.Generator, rule: ProofRule, process: Process, model: Sequence[float], runs: int
) -> dict[str, np.ndarray]:
    """Simulate runs with up to ``rule.attempts`` blocks; arrays of shape (runs,)."""
    ready, wrong = np.zeros(runs, bool), np.zeros(runs, bool)
    audits, waits = np.zeros(runs, int), np.zeros(runs, int)
    for attempt in range(rule.attempts):
        trying = np.flatnonzero(~ready)
        if not len(trying):
            break
        coverage = model[min(attempt, len(model) - 1)]
        failures = process(rng, len(trying), N_STEPS, coverage)
        looks = rule.looks(attempt)
        block = decide(audit(rng, failures, looks), looks)
        audits[trying] += block.audits
        waits[trying] += block.waits
        ready[trying] = block.passed
        wrong[trying] = block.passed & (1 - failures.mean(axis=1) < rule.coverage)
    return {"ready": ready, "wrong": wrong, "audits": audits, "waits": waits}


def former(
    rng: np.random.Generator, process: Process, coverage: float, runs: int, n_audits: int
) -> dict[str, np.ndarray]:
    """Simulate version 0.1: ready at the first `IN_A_ROW` good audits, within `n_audits`."""
    steps = 100 * n_audits
    failures = process(rng, runs, steps, coverage)
    drawn = np.sort(rng.integers(0, steps, size=(runs, n_audits)), axis=1)
    good = ~np.take_along_axis(failures, drawn, axis=1)
    row = np.zeros(runs, int)
    ready, audits = np.zeros(runs, bool), np.full(runs, n_audits)
    for k in range(n_audits):
        row = np.where(good[:, k], row + 1, 0)
        now = ~ready & (row >= IN_A_ROW)
        audits[now] = k + 1
        ready |= now
    wrong = ready & (1 - failures.mean(axis=1) < PROMISE)
    return {"ready": ready, "wrong": wrong, "audits": audits, "waits": audits}


def summary(result: dict[str, np.ndarray]) -> dict[str, float | None]:
    """Return the shares and means that are shown."""
    n_ready = int(result["ready"].sum())
    return {
        "ready": float(result["ready"].mean()),
        "ready_but_below": float(result["wrong"].mean()),
        "of_ready": float(result["wrong"].sum() / n_ready) if n_ready else None,
        "audits": float(result["audits"].mean()),
        "waits": float(result["waits"].mean()),
    }


def in_chunks(simulate: Callable[[int], dict[str, np.ndarray]], runs: int, chunk: int) -> dict:
    """Run a simulation in pieces that fit in memory."""
    sizes = [min(chunk, runs - start) for start in range(0, runs, chunk)]
    parts = [simulate(size) for size in sizes]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def guarantee(report: Report, rng: np.random.Generator, runs: int) -> None:
    """Show how many runs are called ready although they are not, per process and model."""
    rule = ProofRule(coverage=PROMISE, confidence=CONFIDENCE)
    for process_name, process in PROCESSES.items():
        for model_name, model in MODELS.items():
            new = summary(
                in_chunks(lambda n, p=process, m=model: close(rng, rule, p, m, n), runs, 2000)
            )
            row = {"part": "guarantee", "process": process_name, "model": model_name, **new}
            if len(set(model)) == 1:  # the former rule learned at every failure
                old = summary(
                    in_chunks(
                        lambda n, p=process, m=model: former(rng, p, m[0], n, 60), runs // 4, 500
                    )
                )
                row["v0.1_ready_but_below"] = old["ready_but_below"]
            report.add(**row, allowed=1 - CONFIDENCE)


def version_01(report: Report, rng: np.random.Generator, runs: int) -> None:
    """Show the former rule for models that never improve."""
    for coverage, n_audits in ((0.69, 60), (0.85, 60), (0.85, 100), (0.99, 60)):
        result = in_chunks(
            lambda n, c=coverage, a=n_audits: former(rng, constant, c, n, a), runs, 500
        )
        report.add(
            part="version 0.1",
            process="constant",
            model=f"{coverage:g}, within {n_audits} audits",
            **summary(result),
            allowed=1 - CONFIDENCE,
        )


def betting(
    rng: np.random.Generator, coverages: Sequence[float], runs: int, batch: int = 8
) -> dict[str, np.ndarray]:
    """Simulate an anytime-valid test by betting, in batches, at most 80 audits a block.

    Every good audit multiplies a stake by 1 + b (1 - c), every bad one by 1 - b c. The stake
    exceeds 1 / alpha with a probability of at most alpha if the coverage is below c, at whatever
    time it is looked at (Waudby-Smith and Ramdas, J. R. Stat. Soc. B 86, 1 (2024)). The bet b is
    the best one against a coverage of 98 %.
    """
    rule = ProofRule(coverage=PROMISE, confidence=CONFIDENCE)
    bet = (0.98 - PROMISE) / (PROMISE * (1 - PROMISE))
    ready = np.zeros(runs, bool)
    audits, waits = np.zeros(runs, int), np.zeros(runs, int)
    for attempt, coverage in enumerate(coverages):
        least = int(np.ceil(np.log(1 / rule.alpha(attempt)) / np.log1p(bet * (1 - PROMISE))))
        ends = [least, *range(least + batch, max(80, least + 3 * batch), batch)]
        bad = rng.random((runs, ends[-1])) > coverage
        stake = np.cumsum(
            np.where(bad, np.log1p(-bet * PROMISE), np.log1p(bet * (1 - PROMISE))), axis=1
        )
        open_ = ~ready
        for end in ends:
            seen = end - (ends[ends.index(end) - 1] if end != least else 0)
            audits[open_] += seen
            waits[open_] += 1
            won = open_ & (stake[:, end - 1] >= np.log(1 / rule.alpha(attempt)))
            ready |= won
            # lost for good: not even good audits alone would reach the end
            best = stake[:, end - 1] + (ends[-1] - end) * np.log1p(bet * (1 - PROMISE))
            open_ &= ~won & (best >= np.log(1 / rule.alpha(attempt)))
    return {"ready": ready, "wrong": np.zeros(runs, bool), "audits": audits, "waits": waits}


DESIGNS = {
    "one look, no failure": {"failures": 0},
    "one look, no failure, spend 0.95": {"failures": 0, "spend": 0.95},
    "two looks (default)": {"failures": 1},
    "two looks, spend 0.5": {"failures": 1, "spend": 0.5},
    "two looks, spend 0.95": {"failures": 1, "spend": 0.95},
    "three looks": {"failures": 2},
}
PATHS = {
    "95 %": (0.95, 0.95, 0.95),
    "97 %": (0.97, 0.97, 0.97),
    "98 %": (0.98, 0.98, 0.98),
    "99 %": (0.99, 0.99, 0.99),
    "99.9 %": (0.999, 0.999, 0.999),
    "80, 90, 95 %": (0.80, 0.90, 0.95),
    "85, 96, 99 %": (0.85, 0.96, 0.99),
    "93, 97, 99 %": (0.93, 0.97, 0.99),
}


def designs(report: Report, rng: np.random.Generator, runs: int) -> None:
    """Compare tests of a block, for independent audits of models along three blocks."""

    def simulate(rule: ProofRule, path: Sequence[float], n: int) -> dict[str, np.ndarray]:
        ready = np.zeros(n, bool)
        audits, waits = np.zeros(n, int), np.zeros(n, int)
        for attempt, coverage in enumerate(path):
            looks = rule.looks(attempt)
            block = decide(rng.random((n, looks[-1].n)) > coverage, looks)
            audits += np.where(ready, 0, block.audits)
            waits += np.where(ready, 0, block.waits)
            ready |= block.passed
        return {"ready": ready, "wrong": np.zeros(n, bool), "audits": audits, "waits": waits}

    for path_name, path in PATHS.items():
        for name, changes in DESIGNS.items():
            rule = ProofRule(coverage=PROMISE, confidence=CONFIDENCE, **changes)
            _design_row(
                report, name, path_name, summary(simulate(rule, path, runs)), rule.power(path[0])
            )
        bets = summary(betting(rng, path, runs))
        alone = float(betting(rng, path[:1], runs)["ready"].mean())
        _design_row(report, "betting, batches of 8", path_name, bets, alone)


def _design_row(report: Report, name: str, path: str, figures: dict, first: float) -> None:
    report.add(
        part="design",
        process=name,
        model=path,
        first_block=first,
        ready=figures["ready"],
        audits=figures["audits"],
        waits=figures["waits"],
    )


def power(report: Report) -> None:
    """Show, exactly, what a good model pays in its first block."""
    rule = ProofRule(coverage=PROMISE, confidence=CONFIDENCE)
    for coverage in (0.95, 0.97, 0.98, 0.99, 0.995, 0.999):
        report.add(
            part="power",
            process="exact",
            model=f"{100 * coverage:g} %",
            first_block=rule.power(coverage),
            audits=rule.expected_audits(coverage),
            planned=rule.block_size(0),
        )


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, help="simulated runs per row (default 20000)")
    args = parser.parse_args()
    runs = args.runs or (1000 if args.quick else 20000)
    rule = ProofRule(coverage=PROMISE, confidence=CONFIDENCE)
    looks = [[tuple(look) for look in rule.looks(a)] for a in range(rule.attempts)]
    report = Report(
        "proof",
        {
            "runs": runs,
            "steps": N_STEPS,
            "rule": rule.model_dump(),
            "looks": looks,
            "seed": args.seed,
        },
    )
    rng = np.random.default_rng(args.seed)
    power(report)
    guarantee(report, rng, runs)
    version_01(report, rng, runs)
    designs(report, rng, 10 * runs)
    report.finish(args.json)


if __name__ == "__main__":
    main()
