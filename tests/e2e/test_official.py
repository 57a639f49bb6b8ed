"""A run as long as MLPerf asks for is VALID by LoadGen, and its row says whose rules it meets."""

import json
from pathlib import Path

import pytest

from tests.e2e.command import lowbit


@pytest.mark.slow  # ten minutes, which are the rule
@pytest.mark.timeout(2400)
def test_official_single_stream_on_the_digits_meets_the_rules_of_its_round(tmp_path: Path) -> None:
    done = lowbit(
        "compare", "digits-cnn", "--data", "digits", "--toolchains", "torch", "--runtimes", "torch", "--recipes",
        "fp32", "--official", "--rules", "v6.1", "--rounds", "1", "--json", "-o", "study",
        cwd=tmp_path, time_limit_s=2300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["loadgen_valid"]
    assert row["official"]
    assert row["duration_s"] >= 600
    assert row["queries"] >= 1_024
    assert row["early_stopping_ms"] >= row["latency_p90_ms"]
    assert "v6.1" in row["rules_met"]
