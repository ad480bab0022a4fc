"""Write the tables of results in the documentation, from the files in docs/results.

``python tools/result_tables.py`` replaces each table between the marks ``<!-- table NAME -->`` and ``<!-- end -->`` of
a page. The files are those that ``zeroloss reproduce NAME`` writes, without changes.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zeroloss import survival
from zeroloss.studies import CHECKS, FIGURES, STUDIES, Study, load
from zeroloss.studies._words import format_range
from zeroloss.studies.beyond import label_noise
from zeroloss.studies.beyond._delays import format_interval
from zeroloss.studies.beyond.direction import list_rows
from zeroloss.studies.beyond.norm_clamp import FREE, VARIANTS

#: The reference of the cosines of figure 5.
COSINES_OF_FIGURE_5 = ("−0.20", "0.17–0.29", "0.76–0.81", "0.67–0.72", "0.53–0.57", "0.27–0.32")

DOCS = Path(__file__).parent.parent / "docs"
RESULTS = DOCS / "results"


def read_result(name: str) -> dict[str, Any]:
    """Return the content of a file of results."""
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = (f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])
    return re.sub(r"\|  (?=\|)", "| ", "\n".join(lines))


def format_number(value: float) -> str:
    """Return a whole number with spaces between thousands."""
    return f"{value:,.0f}".replace(",", " ")


def format_digits(value: float) -> str:
    """Return two significant digits, with a power of ten below 10⁻⁴."""
    if 0 < abs(value) < 1e-4:
        exponent = math.floor(math.log10(abs(value)))
        return f"{value / 10.0**exponent:.1f}·{format_power(10.0**exponent)}"
    return f"{value:#.2g}".rstrip(".")


def format_power(value: float) -> str:
    """Return a power of ten, such as 3·10⁻⁵."""
    digits, exponent = f"{value:.0e}".split("e")
    power = f"10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    return power if digits == "1" else f"{digits}·{power}"


def list_studies() -> dict[str, Study[Any]]:
    """Return the studies that have a file of results, by name."""
    studies = (load(place) for places in (FIGURES, CHECKS, STUDIES) for place in places.values())
    return {study.name: study for study in studies if (RESULTS / f"{study.name}.json").exists()}


def settings_of(study: Study[Any]) -> Any:
    """Return the settings of the results of a study, from its file."""
    return type(study.full)(**read_result(study.name)["settings"])


def make_lines() -> str:
    """Return the line of every study."""
    rows = []
    for name, study in list_studies().items():
        text = study.line(settings_of(study), read_result(name)["summary"])
        rows.append([f"[{name}]({name}.json)", text.replace("|", r"\|")])
    return format_table(["study", "line of results"], rows)


def make_figure5() -> str:
    """Return the numbers of figures 5 and 7, and the numbers of the reference."""
    summary = read_result("figure5")["summary"]

    def format_steps(event: str) -> str:
        steps = [seed["first_steps"][event] for seed in summary["per_seed"]]
        reached = sorted(step for step in steps if step is not None)
        count = "" if len(reached) == len(steps) else f" in {len(reached)} of {len(steps)}"
        median = survival.median(steps, math.inf)
        return f"{format_number(reached[0])}–{format_number(reached[-1])}{count}, median {format_number(median)}"

    def format_late(key: str, form: str) -> str:
        return ", ".join(format_range(summary[key][step], form) for step in ("5000", "10000", "30000"))

    cosines = zip(summary["cosine"].items(), COSINES_OF_FIGURE_5, strict=True)
    rows = [
        ["first step with train accuracy 1", format_steps("train_accuracy_1"), "about 150"],
        ["with test accuracy > ½", format_steps("test_accuracy_above_half"), "11 500–19 200, median 13 000"],
        ["with test accuracy 1", format_steps("test_accuracy_1"), "22 300–37 300, median 24 500"],
        ["greatest test loss", format_range(summary["peak_test_loss"], ".3f"), "0.115–0.16"],
        ["test loss at step 40 000", format_range(summary["final_test_loss"], ".3f"), "(0.03–0.04 at 100 000)"],
    ]
    rows += [
        [f"cosine at step {format_number(int(step))}", format_range(values, "z.2f"), reference]
        for (step, values), reference in cosines
    ]
    least = format_range(summary["smallest_singular_value"], ".2f")
    rows += [
        ["smallest singular value of J along the run", least, "never below 0.29 in 60 000 steps"],
        ["kink-aware cosine at steps 5 000, 10 000, 30 000", format_late("kink_cosine", ".3f"), "at least 0.98"],
        ["share of pairs on the kink at these steps", format_late("kink_share", ".2f"), "0.05–0.15"],
        ["cosine with softplus(5), at these steps", format_late("smooth_cosine", ".3f"), "above 0.95, 0.99"],
    ]
    return format_table(["number", "measured", "reference"], rows)


def make_figure6() -> str:
    """Return the numbers of figure 6, and the numbers of the reference."""
    summary = read_result("figure6")["summary"]
    first, last = summary["fourier_initial"], summary["fourier_final"]

    def both(key: str, form: str) -> str:
        return f"{format_range(first[key], form)} → {format_range(last[key], form)}"

    def format_scaled(key: str, power: int) -> str:
        exponent = format_power(10.0**power)
        return f"{format_range([value / 10**power for value in summary[key]], '.1f')}·{exponent}"

    rows = [
        [f"{'first step with test accuracy ' if level == '0.5' else ''}≥ {level}", format_range(steps, "d"), reference]
        for (level, steps), reference in zip(
            summary["crossing_steps"].items(), ("1680–2010", "1930–2300", "2260–2490"), strict=True
        )
    ]
    condition = f"{format_scaled('condition_initial', 6)} → {format_scaled('condition_final', 5)}"
    rows += [
        ["final ‖E‖²", format_range(summary["final_norm_E_squared"], ".1f"), "144–148"],
        ["final ‖W‖²", format_range(summary["final_norm_W_squared"], ".1f"), "142–145"],
        ["condition number of K (estimate), first → last step", condition, "3–4·10⁶ → 6·10⁵"],
        ["spread of the norms of Re F_k, Im F_k", both("spread", ".3f"), "0.03 → below 0.015"],
        [r"largest \|cosine\| among them", both("largest_cosine", ".3f"), "0.13–0.17 → below 0.05"],
        ["mean cosine of absolute values, across frequencies", both("across", ".2f"), "0.64 → below 0.2"],
        ["within a frequency", both("within", ".2f"), "0.64 → 0.64"],
        ["share of a unit's power in its strongest frequency", both("strongest_share", ".2f"), "0.19 → above 0.8"],
        ["frequencies used, of 18", format_range(last["frequencies_used"], ".0f"), "18"],
    ]
    return format_table(["number", "measured", "reference"], rows)


def make_vanishing_decay() -> str:
    """Return the sup distances of descent and of the gradient flow to the norm flow."""
    summary = read_result("vanishing_decay")["summary"]
    keys = [(name, way, key) for name in summary for way in ("", "flow_") for key in ("_early", "")]
    columns = [summary[name][f"{way}sup_distance{key}"] for name, way, key in keys]
    decays = sorted({decay for column in columns for decay in column}, key=float, reverse=True)
    rows = [
        [format_power(float(decay)), *(format_digits(column[decay]) if decay in column else "" for column in columns)]
        for decay in decays
    ]
    orders = [f"{summary[name][f'{way}order{key}']:.3f}" for name, way, key in keys]
    head = [f"{name} {'flow' if way else 'descent'}, s ≤ {1 if key else 3}" for name, way, key in keys]
    return format_table(["weight decay", *head], [*rows, ["order", *orders]])


def make_sliding() -> str:
    """Return the costs and errors of the ways to follow the norm flow along corners."""
    names = {"plain": "plain, step size", "adaptive": "Bogacki–Shampine, rtol", "proximal": "proximal, rtol"}
    rows = []
    for name, flow in read_result("sliding")["summary"]["flows"].items():
        kind, value = name.split(" ")
        cost = [format_number(flow["solves"]), f"{format_digits(flow['seconds'])} s", format_digits(flow["error"])]
        rows.append([f"{names[kind]} {value}", *cost])
    return format_table(["steps", "solves", "processor time", "error"], rows)


def make_edge_of_stability() -> str:
    """Return the sharpness as a multiple of 2/lr: its mean, and its range over all seeds."""
    content = read_result("edge_of_stability")
    settings, summary = content["settings"], content["summary"]
    rows = []
    for name in settings["activations"]:
        for decay in settings["weight_decays"]:
            ratios = [summary[f"{name}, lr {lr:g}, weight decay {decay:g}"] for lr in settings["learning_rates"]]
            cells = [f"{r['mean']:.2f} ({r['least']:.2f} … {r['greatest']:.2f})" for r in ratios]
            rows.append([name, f"{decay:g}", *cells])
    return format_table(["activation", "weight decay", *(f"lr {lr:g}" for lr in settings["learning_rates"])], rows)


def make_end_states() -> str:
    """Return the medians over seeds of the stationary points, and of the ends of the norm flow."""
    content = read_result("end_states")
    rows = []
    for name, both in content["summary"].items():
        for decay, point in both["points"].items():
            distances = [point.get(f"distance_{way}") for way in ("descent", "gradient_flow", "norm_flow")]
            rows.append(
                [
                    name,
                    format_power(float(decay)),
                    f"{point['minima']} of {content['settings']['seeds']}",
                    f"{point['norm_squared']:.2f}",
                    format_number(point["loss_over_decay_squared"]),
                    *("" if distance is None else format_digits(distance) for distance in distances),
                    f"{point['active_units']:.0f}",
                    f"{point['rank']:.0f}",
                    f"{point['strongest_share']:.2f}",
                    format_digits(point["test_loss"]),
                ]
            )
        end = both["norm_flow"]
        row = [name, "norm flow", "", f"{end['norm_squared']:.2f}", "", "", "", "", "", ""]
        rows.append([*row, f"{end['strongest_share']:.2f}", format_digits(end["test_loss"])])
    head = [
        "activation",
        "weight decay",
        "certified",
        "‖θ‖²",
        "L/wd²",
        "to descent",
        "to gradient flow",
        "to norm flow",
    ]
    return format_table([*head, "active units", "rank of J", "strongest share", "test loss"], rows)


def make_delay_laws() -> str:
    """Return the exponents of the delay law by definition."""
    names = {
        "first": "test accuracy ½, first",
        "sustained": "test accuracy ½, sustained over 3 records",
        "nine tenths": "test accuracy 0.9, sustained",
        "loss": "test loss below the constant prediction's, sustained",
    }
    laws = read_result("delay_law")["summary"]["laws"]
    rows = [
        [words, format_interval(laws[key]["exponent"]), f"{laws[key]['runs']}, {laws[key]['censored']}"]
        for key, words in names.items()
    ]
    return format_table(["delay to", "exponent of lr · weight decay, 95 %", "runs, censored"], rows)


def make_budgets() -> str:
    """Return the exponents of the delay law within budgets."""
    rows = []
    for budget, ways in read_result("delay_law")["summary"]["budgets"].items():
        intervals = [format_interval(ways[way]) for way in ("censored", "dropped", "taken")]
        rows.append([f"{format_number(int(budget))} steps", f"{100 * ways['censored_share']:.0f} %", *intervals])
    head = ["budget", "not generalised", "exponent, these runs censored", "left out", "budget used as delay"]
    return format_table(head, rows)


def make_norm_clamp() -> str:
    """Return the delays with a norm held fixed."""
    summary = read_result("norm_clamp")["summary"]

    def format_delays(runs: Mapping[str, Any]) -> list[str]:
        delay = runs["delay"]["0.5"]
        seen = sorted(value for value in delay["each"] if value is not None)
        count = len(delay["each"])
        reached = "" if len(seen) == count else f"{len(seen) or 'none'} of {count}"
        if delay["median"] is None or len(seen) < 3:
            return [", ".join(map(format_number, seen)), reached]
        return [" – ".join(map(format_number, (seen[0], delay["median"], seen[-1]))), reached]

    def format_medians(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
        delays = {ratio: runs[ratio]["delay"]["0.5"] for ratio in ("0.4", "0.8", "1", "1.2")}
        medians = [delay["median"] for delay in delays.values()]
        words = ["not reached" if median is None else format_number(median) for median in medians]
        few = [f"{5 - delay['censored']} of 5 at {ratio}" for ratio, delay in delays.items() if delay["censored"]]
        return [" / ".join(delays), f"medians {' / '.join(words)}", ", ".join(few)]

    rows = [["free", "", *format_delays(summary[FREE])]]
    for ratio, runs in sorted(summary["hold both"].items(), key=lambda item: -float(item[0])):
        rows.append([VARIANTS["hold both"][3] if len(rows) == 1 else "", ratio, *format_delays(runs)])
    rows += [[VARIANTS[name][3], *format_medians(summary[name])] for name in VARIANTS if name != "hold both"]
    return format_table(["", "ρ", "delay to 0.5, least – median – greatest", "runs that generalise"], rows)


def make_direction() -> str:
    """Return the numbers of every direction."""
    head = ["direction", "ends", "at s", "‖θ‖²", "length", "accuracy ½ from s", "0.95 from s", "test accuracy"]
    rows = list_rows(read_result("direction")["summary"])
    return format_table([*head, "test loss", "strongest share", "cosine gap"], rows)


def make_label_noise() -> str:
    """Return the start and the ends of all ways along the set."""
    return format_table(label_noise.HEAD, label_noise.list_rows(read_result("label_noise")["summary"]))


def make_noise_rates() -> str:
    """Return the differences of descent with label noise from its flow."""
    return format_table(label_noise.RATE_HEAD, label_noise.list_rates(read_result("label_noise")["summary"]))


#: The tables by the names in their marks.
TABLES: Mapping[str, Callable[[], str]] = {
    "lines": make_lines,
    "figure 5": make_figure5,
    "figure 6": make_figure6,
    "vanishing decay": make_vanishing_decay,
    "sliding": make_sliding,
    "edge of stability": make_edge_of_stability,
    "end states": make_end_states,
    "delay laws": make_delay_laws,
    "budgets": make_budgets,
    "norm clamp": make_norm_clamp,
    "direction": make_direction,
    "label noise": make_label_noise,
    "noise rates": make_noise_rates,
}


def replace_tables(text: str) -> str:
    """Return a page with its tables written again."""

    def replace(match: re.Match[str]) -> str:
        return f"<!-- table {match[1]} -->\n\n{TABLES[match[1]]()}\n\n<!-- end -->"

    return re.sub(r"<!-- table ([\w ]+) -->\n.*?<!-- end -->", replace, text, flags=re.DOTALL)


if __name__ == "__main__":
    for page in sorted(DOCS.rglob("*.md")):
        page.write_text(replace_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
