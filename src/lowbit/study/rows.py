"""Makes rows from finished jobs. Rows are never stored separately from the jobs that they come from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import numpy as np

from lowbit.core.artifact import Manifest
from lowbit.core.cell import Build, Cell, Failure, Outcome
from lowbit.core.codec import from_plain, load_json, to_plain
from lowbit.core.figures import rate
from lowbit.core.outcome import Accuracy, Executed, Timing
from lowbit.core.row import Row
from lowbit.core.settings import Round, Settings
from lowbit.core.sweep import group
from lowbit.core.verified import Verified
from lowbit.measure.host import saturates_within
from lowbit.measure.precision import int8_share
from lowbit.measure.rules import ROUNDS, Shortfall, shortfalls
from lowbit.measure.stats import mcnemar, paired_margin, wilson
from lowbit.report.mlperf import rules_note, shortfall_text
from lowbit.report.quantized import not_verified_note, verified_note
from lowbit.study.cells import Impossible
from lowbit.worker.jobs import Nothing

_WORSE_POINTS = 2.0  # a runtime significantly this far below the best one for the same file computes it wrongly
_WORSE_P = 0.01


@dataclass(slots=True)
class CellState:
    """What is known of one cell so far. Each stage fills in its part; None: not done yet, or not applicable.

    - cell: the build, runtime and settings
    - environment: variables that limit the runtime's instruction set in its child processes
    - built: how the build ended
    - artifact: path of the main file within the study
    - key: digest that names the cell's folder
    - verified: how verification ended; None where the file cannot be verified
    - accuracy: how the accuracy pass ended
    - right: path of right.npy, which holds for each image whether the prediction is right
    - timings: how each round of timing ended
    - operators: how the job ended that lists the operators of a cell that is not timed
    - executed: path of the list of executed operators (`core.outcome.Executed`), which the first round of timing or
      that job writes
    - outside: sentences about packages whose installed versions lowbit was not made for
    - broken: what ended the cell other than a failure of its own jobs
    """

    cell: Cell
    environment: Mapping[str, str] = field(default_factory=dict)
    built: Outcome[Manifest] | None = None
    artifact: str | None = None
    key: str | None = None
    verified: Outcome[Verified] | None = None
    accuracy: Outcome[Accuracy] | None = None
    right: Path | None = None
    timings: list[Outcome[Timing]] = field(default_factory=list)
    operators: Outcome[Nothing] | None = None
    executed: Path | None = None
    outside: tuple[str, ...] = ()
    broken: Failure | None = None

    @property
    def manifest(self) -> Manifest | None:
        """The artifact's manifest, once it is built."""
        return None if self.built is None else self.built.value

    @property
    def alive(self) -> bool:
        """Whether nothing has failed so far."""
        return self.ended is None

    @property
    def ended(self) -> Failure | None:
        """The first failure; None where there is none."""
        jobs = (self.built, self.accuracy, *self.timings, self.operators)
        failures = (outcome.failure for outcome in jobs if outcome is not None)
        return self.broken or next((failure for failure in failures if failure is not None), None)


@dataclass(frozen=True, slots=True)
class Common:
    """What all rows of a study have in common.

    - model, data: their names
    - n_samples: number of evaluated images
    - settings: of the rows that have no cell, because nothing could be built
    - host_id: the machine's digest
    - accuracy: whether accuracy means anything; False for random weights
    - float_accuracy: the float model's, on all images
    """

    model: str
    data: str
    n_samples: int
    settings: Settings
    host_id: str
    accuracy: bool
    float_accuracy: Accuracy


def mark_miscomputed(cells: Iterable[CellState]) -> None:
    """Fail every cell whose file is far more accurate in another runtime: over 2 points, and McNemar p < 0.01.

    Only cells of the same settings are compared: an older instruction set may make sums saturate, which is a result.
    """
    by_file: dict[tuple[object, ...], list[tuple[Accuracy, CellState]]] = {}
    for cell in cells:
        if cell.alive and cell.accuracy is not None:
            same = (cell.cell.build.folder, group(cell.cell.settings))
            by_file.setdefault(same, []).append((cell.accuracy.result, cell))
    for pairs in by_file.values():
        best, best_cell = max(pairs, key=lambda pair: pair[0].correct / pair[0].n_samples)
        better = 100 * best.correct / best.n_samples
        for accuracy, cell in pairs:
            share = 100 * accuracy.correct / accuracy.n_samples
            if better - share <= _WORSE_POINTS:
                continue
            p_value = _paired(cell.right, best_cell.right)
            if p_value < _WORSE_P:
                p_text = f"p = {p_value:.1g}" if p_value else "p < 1e-300"
                here, there = cell.cell.runtime, best_cell.cell.runtime
                cell.broken = Failure(
                    "failed",
                    f"top-1 {share:.2f} % in {here}, but {better:.2f} % for the same file in {there} "
                    f"(McNemar {p_text}): {here} computes it wrongly",
                    cell.accuracy.log if cell.accuracy else None,
                )


def _paired(right: Path | None, other: Path | None) -> float:
    """McNemar's p-value on the images that both answered: 1 stands for right, 0 for wrong, -1 for not asked."""
    assert right is not None
    assert other is not None
    a, b = np.load(right), np.load(other)
    return mcnemar(int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum()))


def rows_of(cells: Sequence[CellState], impossible: Sequence[Impossible], common: Common) -> tuple[Row, ...]:
    """One row per cell and one per impossible combination.

    Speed-ups are relative to the fastest fp32 row of the same settings; without one they are None.
    """
    rows = [_row(cell, common) for cell in cells] + [_impossible(item, common) for item in impossible]
    rates = [rate(row) if row.status == "measured" else None for row in rows]
    best: dict[tuple[object, ...], float] = {}
    for row, each in zip(rows, rates, strict=True):
        if row.is_fp32 and each is not None:
            best[group(row)] = max(each, best.get(group(row), each))
    return tuple(
        replace(row, speedup=None if each is None or group(row) not in best else each / best[group(row)])
        for row, each in zip(rows, rates, strict=True)
    )


def noise_of(cells: Iterable[CellState]) -> dict[str, float]:
    """Name of a row → spread of its rounds' rates, as a share of their median; 0 for a single round."""
    found = {}
    for cell in cells:
        rates = [outcome.value.samples_per_s for outcome in cell.timings if outcome.value is not None]
        if rates:
            found[cell.cell.name] = (max(rates) - min(rates)) / median(rates)
    return found


def _base(common: Common, settings: Settings) -> dict[str, object]:
    return {
        "model": common.model,
        "data": common.data,
        "n_samples": common.n_samples,
        "scenario": settings.scenario,
        "threads": settings.threads,
        "batch_size": settings.batch_size,
        "isa": settings.isa,
        "official": settings.official,
        "host_id": common.host_id,
    }


def _impossible(item: Impossible, common: Common) -> Row:
    plain = _base(common, common.settings) | {
        "toolchain": item.toolchain,
        "recipe": item.recipe,
        "weight_bits": item.weight_bits,
        "activation_bits": item.activation_bits,
        "runtime": item.runtime,
        "intended": True,
        "status": "unsupported",
        "reason": item.reason,
    }
    return from_plain(Row, plain)


def _row(cell: CellState, common: Common) -> Row:
    build, isa = cell.cell.build, cell.cell.settings.isa
    recipe = build.recipe
    plain = _base(common, cell.cell.settings) | {
        "swept": cell.cell.swept,
        "toolchain": build.toolchain.name,
        "recipe": recipe.name,
        "weight_bits": recipe.weight_bits,
        "activation_bits": recipe.activation_bits,
        "claim": recipe.claim,
        "series": recipe.series,
        "runtime": cell.cell.runtime,
        "intended": cell.cell.intended,
        "artifact": cell.artifact,
    }
    if cell.manifest is not None:
        plain |= _of_manifest(cell.manifest)
    notes = list(cell.manifest.notes) if cell.manifest else [recipe.note] if recipe.note else []
    notes += cell.outside
    if cell.verified is not None:
        found = cell.verified.value
        note = not_verified_note(cell.verified.reason) if found is None else verified_note(found)
        notes.append(note if isa is None else f"{note} (verified without a limit)")
    fixed = None if cell.manifest is None else cell.manifest.batch_size
    if fixed is not None and build.given is not None and fixed != cell.cell.settings.batch_size:
        notes.append(_fixed_note(fixed))
    if isa is not None and recipe.claim in ("integer", "dynamic") and saturates_within(isa):
        notes.append(f"{isa} has no int8 dot products: sums of 8-bit weights may saturate")
    accuracy = None if cell.accuracy is None else cell.accuracy.value
    if accuracy is not None:
        plain |= _of_accuracy(accuracy, common)
        if accuracy.n_samples < common.n_samples:
            notes.append(_early_note(accuracy, common))
    if cell.executed is not None and cell.executed.exists():
        operators = load_json(Executed, cell.executed).operators
        plain["int8_share"] = int8_share(operators)
        if any(op.hybrid and op.integer for op in operators):
            notes.append("hybrid kernels: activations are quantized on the fly")
    timings = [outcome.value for outcome in cell.timings if outcome.value is not None]
    if timings:
        plain |= _of_timings(timings) | _of_rules(timings, cell.cell.settings)
        if not all(timing.loadgen_valid for timing in timings):
            notes.append("LoadGen: " + next(timing.verdict for timing in timings if not timing.loadgen_valid))
    ended = cell.ended
    if ended is not None:
        plain |= {"status": ended.status, "reason": ended.reason, "log": ended.log}
    else:
        plain["status"] = "measured"
    plain["notes"] = notes
    row = from_plain(Row, plain)
    settings = cell.cell.settings
    return replace(row, notes=(*row.notes, rules_note(row, settings.rules))) if timings and settings.official else row


def _fixed_note(images: int) -> str:
    if images == 1:
        return "the file takes one image a call: larger calls are split"
    return f"the file takes {images} images a call: smaller calls are filled up, larger ones are split"


def _of_manifest(manifest: Manifest) -> dict[str, object]:
    return {
        "size_bytes": manifest.size_bytes,
        "build_s": manifest.build_s,
        "calibration_s": manifest.calibration_s,
        "training": to_plain(manifest.training),
    }


def _early_note(accuracy: Accuracy, common: Common) -> str:
    """That a pass ended early, and what its figures stand on."""
    seen = f"answered {accuracy.n_samples:,} of {common.n_samples:,} images, chosen at random"
    if not common.accuracy:
        return seen
    margin = 100 * paired_margin(accuracy.b, accuracy.c, accuracy.n_samples)
    return (
        f"{seen}: its difference to the float model is then known to ± {margin:.2f} points of top-1, and each image "
        "takes very long; top-1 is the float model's plus that difference"
    )


def _of_accuracy(accuracy: Accuracy, common: Common) -> dict[str, object]:
    found: dict[str, object] = {
        "n_samples": accuracy.n_samples,
        "agreement": accuracy.agreement,
        "kl": accuracy.kl,
    }
    if common.accuracy and accuracy.n_samples < common.n_samples:
        reference = common.float_accuracy
        low, high = wilson(reference.correct, reference.n_samples)
        gained = (accuracy.c - accuracy.b) / accuracy.n_samples
        margin = paired_margin(accuracy.b, accuracy.c, accuracy.n_samples)
        found |= {
            "top1": reference.correct / reference.n_samples + gained,
            "top1_low": low + gained - margin,
            "top1_high": high + gained + margin,
            "p_value": accuracy.p_value,
        }
    elif common.accuracy:
        low, high = wilson(accuracy.correct, accuracy.n_samples)
        found |= {
            "top1": accuracy.correct / accuracy.n_samples,
            "top1_low": low,
            "top1_high": high,
            "top5": None if accuracy.correct_top5 is None else accuracy.correct_top5 / accuracy.n_samples,
            "p_value": accuracy.p_value,
        }
    return found


def _of_timings(timings: Sequence[Timing]) -> dict[str, object]:
    """Medians over the rounds, the range of the rounds' median latencies, and the largest peak of memory."""
    found: dict[str, object] = {
        "samples_per_s": median(timing.samples_per_s for timing in timings),
        "disturbed": any(timing.disturbed for timing in timings),
        "loadgen_valid": all(timing.loadgen_valid for timing in timings),
        "queries": min(timing.queries for timing in timings),
        "duration_s": min(timing.duration_s for timing in timings),
        "peak_memory_bytes": max(timing.peak_memory_bytes for timing in timings),
        "load_s": median(timing.load_s for timing in timings),
        "import_s": median(timing.import_s for timing in timings),
    }
    estimates = [timing.early_stopping_ms for timing in timings if timing.early_stopping_ms is not None]
    if estimates:
        found["early_stopping_ms"] = median(estimates)
    arrivals = [timing.target_qps for timing in timings if timing.target_qps is not None]
    if arrivals:
        found["target_qps"] = median(arrivals)
    p50 = [timing.latency_p50_ms for timing in timings if timing.latency_p50_ms is not None]
    if p50:
        found |= {
            "latency_p50_ms": median(p50),
            "latency_p50_low_ms": min(p50),
            "latency_p50_high_ms": max(p50),
            "latency_p90_ms": median(t.latency_p90_ms for t in timings if t.latency_p90_ms is not None),
            "latency_p99_ms": median(t.latency_p99_ms for t in timings if t.latency_p99_ms is not None),
            "latency_p999_ms": median(t.latency_p999_ms for t in timings if t.latency_p999_ms is not None),
        }
    return found


def _of_rules(timings: Sequence[Timing], settings: Settings) -> dict[str, object]:
    """The rounds of MLPerf whose rules every timing meets, and what the study's own round lacks."""
    target = settings.target_latency_ms if settings.scenario == "server" else None

    def lacks(name: Round) -> list[Shortfall]:
        return [
            lack
            for timing in timings
            for lack in shortfalls(
                name, settings.scenario, duration_s=timing.duration_s, queries=timing.queries,
                samples=timing.samples, target_latency_ms=target, valid=timing.loadgen_valid,
            )
        ]  # fmt: skip

    return {
        "rules_met": [name for name in ROUNDS if not lacks(name)],
        "rules_missing": list(dict.fromkeys(shortfall_text(lack) for lack in lacks(settings.rules))),
    }


def versions_of(builds: Iterable[Build], runtimes: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Every package that took part, with its version."""
    found: dict[str, str] = {}
    for versions in [*(build.versions for build in builds), *runtimes.values()]:
        found |= versions
    return dict(sorted(found.items()))
