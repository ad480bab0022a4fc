"""`make bench`: compare our steps with JAX, PyTorch and NumPy, first on one core, then on all cores."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

_RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table and write it. Return 1 if an answer is wrong."""
    # Imported here because every worker imports this file and needs none of these.
    import machine  # noqa: PLC0415
    import report  # noqa: PLC0415
    from implementations import IMPLEMENTATIONS, OURS, SIMULATE  # noqa: PLC0415
    from measure import ProcessPool, Row, TimeBudget, measure  # noqa: PLC0415
    from step_cases import Case, list_cases, list_picture_cases  # noqa: PLC0415

    options = _parser().parse_args(arguments)
    available = sorted(os.sched_getaffinity(0))
    core = available[-1] if options.core is None else options.core
    quick = TimeBudget(stretch=0.03, total=1.0, most=3)
    baselines = [name for name in IMPLEMENTATIONS if name not in {OURS, SIMULATE}]
    table = list_cases(options.sizes)
    if options.quick:
        table = [case for case in table if case.p <= 37 and case.activation == "relu"]
        baselines.remove("PyTorch compiled")
    machine_description = machine.describe()
    start_time = time.monotonic()

    def run(table: list[Case], cores: set[int], names: list[str], budget: TimeBudget) -> list[Row]:
        rows = []
        with ProcessPool(cores) as pool:
            for case in table:
                loop_names = [SIMULATE] if len(cores) == 1 and case.dynamics == "descent" and case.p == 11 else []
                rows.append(measure(case, pool, loop_names + names, budget))
                print(report.line(rows[-1]), flush=True)
        return rows

    print(f"{report.headline(machine_description)}\n\none core (number {core})\n{report.HEADER}", flush=True)
    one_core = run(table, {core}, baselines, quick if options.quick else TimeBudget())
    print(f"\n{report.notes(one_core)}", flush=True)
    all_cores: list[Row] = []
    if len(available) > 1 and not options.quick:
        print(f"\nall {len(available)} cores\n{report.HEADER}", flush=True)
        relu = [case for case in table if case.activation == "relu"]
        all_cores = run(relu, set(available), baselines, replace(TimeBudget(), total=3.0, most=5))
    picture_rows: list[Row] = []
    if options.sizes is None and not options.quick:
        print(f"\none core, for the picture\n{report.HEADER}", flush=True)
        picture_rows = run(list_picture_cases(), {core}, ["JAX"], replace(TimeBudget(), total=0.8, most=5))

    print(f"\n{time.monotonic() - start_time:.0f} s")
    if wrong := [sentence for row in one_core + all_cores + picture_rows for sentence in row.wrong()]:
        print("Some answers are wrong. Nothing was written:", *wrong, sep="\n  ", file=sys.stderr)
        return 1
    if options.write:
        report.write(
            _RESULTS / machine.file_stem(machine_description), machine_description, one_core, all_cores, picture_rows
        )
        print(f"bench/results/{machine.file_stem(machine_description)}.md, .json" + (", .png" if picture_rows else ""))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one core, p ≤ 37, few rounds, no torch.compile")
    parser.add_argument("--sizes", type=_sizes, metavar="P,P…", help="measure only these moduli, without the picture")
    parser.add_argument("--core", type=int, help="the core for the one-core rows (default: the last available)")
    parser.add_argument("--no-write", dest="write", action="store_false", help="do not write bench/results/")
    return parser


def _sizes(text: str) -> set[int]:
    return {int(part) for part in text.split(",")}


if __name__ == "__main__":
    sys.exit(main())
