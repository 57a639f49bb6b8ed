from dataclasses import replace

from lowbit.core.row import Row
from lowbit.study.choose import choose

ROW = Row(
    model="m", data="d", n_samples=1000, toolchain="t", recipe="fp32", weight_bits=32, activation_bits=32,
    runtime="r", intended=True, scenario="single-stream", status="measured", top1=0.90, agreement=1.0,
    size_bytes=1000, latency_p50_ms=1.0, latency_p50_low_ms=0.98, latency_p50_high_ms=1.02, samples_per_s=1000.0,
    speedup=1.0, threads=1, batch_size=1, official=False, peak_memory_bytes=500, host_id="h",
)  # fmt: skip
FAST = replace(ROW, recipe="int8", top1=0.895, latency_p50_ms=0.5, latency_p50_low_ms=0.49, latency_p50_high_ms=0.51)
POOR = replace(FAST, recipe="int4", top1=0.85, latency_p50_ms=0.2, size_bytes=100)


def test_the_fastest_within_the_drop_wins() -> None:
    choice = choose([ROW, POOR, FAST], 0.90, optimize="latency", max_drop=1.0)
    assert choice.row == 2
    assert choice.tied == ()
    assert choose([ROW, POOR, FAST], 0.90, optimize="latency", max_drop=5.0).row == 1


def test_other_goals() -> None:
    small = replace(ROW, recipe="small", size_bytes=10, peak_memory_bytes=900)
    assert choose([ROW, small, FAST], 0.90, optimize="size", max_drop=1.0).row == 1
    lean = replace(ROW, recipe="lean", peak_memory_bytes=0)
    assert choose([ROW, lean, FAST], 0.90, optimize="memory", max_drop=1.0).row == 1


def test_a_lead_inside_the_noise_is_a_tie() -> None:
    close = replace(FAST, recipe="close", latency_p50_ms=0.515)
    apart = replace(FAST, recipe="apart", latency_p50_ms=0.53)
    noise = {FAST.name: 0.04, close.name: 0.01, apart.name: 0.01}
    choice = choose([ROW, FAST, close, apart], 0.90, optimize="latency", max_drop=1.0, noise=noise)
    assert choice.row == 1
    assert choice.tied == (close.name,)
    assert choose([ROW, FAST, close, apart], 0.90, optimize="latency", max_drop=1.0).tied == ()


def test_one_file_in_two_runtimes_ties_in_size_only_when_equal() -> None:
    twin, larger = replace(FAST, runtime="s"), replace(FAST, runtime="u", size_bytes=1001)
    choice = choose([FAST, twin, larger], 0.90, optimize="size", max_drop=1.0, noise={FAST.name: 0.5})
    assert choice.tied == (twin.name,)


def test_what_is_not_intended_or_failed_never_wins() -> None:
    alien = replace(FAST, intended=False)
    broken = replace(FAST, status="failed", reason="x")
    assert choose([alien, broken, ROW], 0.90, optimize="latency", max_drop=1.0).row == 2


def test_nothing_within_the_drop_is_no_winner() -> None:
    choice = choose([replace(ROW, top1=0.88), POOR], 0.90, optimize="latency", max_drop=1.0)
    assert choice.row is None
    assert choose([], 0.9, optimize="latency", max_drop=1.0).row is None


def test_a_row_that_answers_otherwise_wins_only_where_nothing_else_is_left() -> None:
    other = replace(FAST, recipe="other", top1=0.99, agreement=0.78, latency_p50_ms=0.1)
    goal = {"optimize": "latency", "max_drop": 1.0, "min_agreement": 90.0}
    assert choose([ROW, FAST, other], 0.90, **goal).row == 1  # type: ignore[arg-type] # one dict for all goals
    alone = choose([POOR, other], 0.90, **goal)  # type: ignore[arg-type] # the same
    assert (alone.row, alone.min_agreement) == (1, 90.0)
    assert choose([ROW, FAST, other], 0.90, optimize="latency", max_drop=1.0, min_agreement=78.0).row == 2


def test_without_accuracy_agreement_stands_in() -> None:
    rows = [replace(ROW, top1=None), replace(FAST, top1=None, agreement=0.995), replace(POOR, top1=None, agreement=0.9)]
    choice = choose(rows, None, optimize="latency", max_drop=1.0)
    assert choice.row == 1
    assert choice.tied == ()


def test_offline_compares_rates() -> None:
    def offline(row: Row, rate: float) -> Row:
        return replace(
            row, scenario="offline", latency_p50_ms=None, latency_p50_low_ms=None, latency_p50_high_ms=None,
            samples_per_s=rate,
        )  # fmt: skip

    rows = [offline(ROW, 1000.0), offline(FAST, 3000.0)]
    choice = choose(rows, 0.90, optimize="latency", max_drop=1.0, noise={FAST.name: 0.1})
    assert (choice.row, choice.tied) == (1, ())
    close = offline(replace(FAST, recipe="close"), 2800.0)
    assert choose([*rows, close], 0.90, optimize="latency", max_drop=1.0, noise={FAST.name: 0.1}).tied == (close.name,)
