"""From lists of scenarios, threads, batch sizes and instruction sets to the settings of a study's cells."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar, cast

from lowbit.core.errors import BadInput
from lowbit.core.host import Host
from lowbit.core.settings import Scenario, Settings
from lowbit.core.sweep import values_of
from lowbit.measure.host import limits

OneOrMore = TypeVar("OneOrMore", bound=str | int)

_BATCH_SIZE: Mapping[str, int] = {"single-stream": 1, "multi-stream": 8, "offline": 32}  # unless one is given


def listed(option: str, given: OneOrMore | Iterable[OneOrMore]) -> tuple[OneOrMore, ...]:
    """One value or several as a tuple. Raises BadInput where a list is empty or names a value twice."""
    one = isinstance(given, str) or not isinstance(given, Iterable)
    values = (cast(OneOrMore, given),) if one else tuple(cast(Iterable[OneOrMore], given))
    if not values:
        raise BadInput(f"{option}: expected one value or several; the list is empty")
    if len(set(values)) < len(values):
        raise BadInput(f"{option} {','.join(map(str, values))}: expected each value once")
    return values


def one_or_all(values: tuple[OneOrMore, ...]) -> OneOrMore | tuple[OneOrMore, ...]:
    """The only value, or all of them: so that a command without a sweep reads as it always did."""
    return values[0] if len(values) == 1 else values


def sweep(
    common: Settings,
    scenarios: Sequence[Scenario],
    threads: Sequence[int],
    batch_sizes: Sequence[int] | None,
    isa: Sequence[str | None],
) -> tuple[Settings, ...]:
    """Every combination of the four lists, in their order; `common` has everything else.

    - batch_sizes: of one scenario, if only one is given; of the offline scenario, if several are. None: the scenario's
      own, 1, 8 or 32.

    Raises BadInput for several scenarios with batch sizes that belong to none of them.
    """
    if batch_sizes is not None and len(scenarios) > 1 and "offline" not in scenarios:
        raise BadInput(
            f"--batch-size {','.join(map(str, batch_sizes))}: expected --scenario to name offline, whose batch sizes "
            f"these would be; {', '.join(scenarios)} have their own"
        )

    if common.target_qps is not None and "server" not in scenarios:
        raise BadInput(
            f"--target-qps {common.target_qps:g}: expected --scenario server, where queries have a rate, not "
            f"{', '.join(scenarios)}"
        )

    def sizes(scenario: Scenario) -> Sequence[int]:
        if batch_sizes is not None and (scenario == "offline" or len(scenarios) == 1):
            return batch_sizes
        return (_BATCH_SIZE.get(scenario, 1),)

    return tuple(
        replace(
            common,
            scenario=scenario,
            isa=limit,
            batch_size=size,
            threads=count,
            target_qps=common.target_qps if scenario == "server" else None,
        )
        for scenario in scenarios
        for limit in isa
        for size in sizes(scenario)
        for count in threads
    )


def check_isa(settings: Sequence[Settings], host: Host) -> None:
    """Raises BadInput for an instruction set that this processor lacks, or that no runtime can be limited to."""
    asked = [name for name in values_of("isa", settings) if name is not None]
    there = limits(host)
    for name in asked:
        if name not in there:
            has = f"this processor has {', '.join(there)}" if there else "this processor has none that lowbit knows"
            raise BadInput(f"--isa {name}: expected instruction sets to limit the runtimes to; {has}")
