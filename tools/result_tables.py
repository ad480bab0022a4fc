"""Write the tables of the documentation that hold results, from the files in docs/results.

``python tools/result_tables.py`` writes the tables between the marks ``<!-- table NAME -->`` and ``<!-- end -->`` of
the pages again. The files are those that ``zeroloss reproduce NAME`` writes, without a change.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zeroloss.studies import CHECKS, FIGURES, STUDIES, Study, load
from zeroloss.studies.beyond.norm_clamp import FREE, VARIANTS

DOCS = Path(__file__).parent.parent / "docs"
RESULTS = DOCS / "results"


def content(name: str) -> dict[str, Any]:
    """Return the content of a file of results."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]).replace("|  |", "| |")


def number(value: float) -> str:
    """Return a whole number with spaces between thousands."""
    return f"{value:,.0f}".replace(",", " ")


def studies() -> dict[str, Study[Any]]:
    """Return the studies that have a file of results, by name."""
    every = (load(place) for places in (FIGURES, CHECKS, STUDIES) for place in places.values())
    return {study.name: study for study in every if (RESULTS / f"{study.name}.json").exists()}


def settings_of(study: Study[Any]) -> Any:
    """Return the settings that the results of a study come from, as its files hold them."""
    return type(study.full)(**content(study.name)["settings"])


def lines() -> str:
    """Return the line that every study printed."""
    rows = []
    for name, study in studies().items():
        text = study.line(settings_of(study), content(name)["summary"])
        rows.append([f"[{name}]({name}.json)", text.replace("|", r"\|")])
    return table(["study", "what it printed"], rows)


def delay_laws() -> str:
    """Return the exponents of the delay law by definition."""
    names = {
        "first": "test accuracy ½, first",
        "sustained": "test accuracy ½, sustained over 3 records",
        "nine tenths": "test accuracy 0.9, sustained",
        "loss": "test loss below the constant prediction's, sustained",
    }
    laws = content("delay_law")["summary"]["laws"]
    rows = []
    for key, words in names.items():
        value, low, high = laws[key]["exponent"]
        exponent = f"{value:.3f} ({low:.3f} … {high:.3f})".replace("-", "−")
        rows.append([words, exponent, f"{laws[key]['runs']}, {laws[key]['censored']}"])
    return table(["delay to", "exponent of lr · weight decay, 95 %", "runs, censored"], rows)


def norm_clamp() -> str:
    """Return the delays with a norm held."""
    summary = content("norm_clamp")["summary"]

    def delays(own: Mapping[str, Any]) -> list[str]:
        found, each = own["delay"]["0.5"], own["delay"]["0.5"]["each"]
        seen = sorted(delay for delay in each if delay is not None)
        reached = "" if len(seen) == len(each) else f"{len(seen) or 'none'} of {len(each)}"
        if found["median"] is None or len(seen) < 3:
            return [", ".join(map(number, seen)), reached]
        return [" – ".join(map(number, (seen[0], found["median"], seen[-1]))), reached]

    def medians(own: Mapping[str, Mapping[str, Any]]) -> list[str]:
        found = {ratio: own[ratio]["delay"]["0.5"] for ratio in ("0.4", "0.8", "1", "1.2")}
        words = ["not reached" if one["median"] is None else number(one["median"]) for one in found.values()]
        few = [f"{5 - one['censored']} of 5 at {ratio}" for ratio, one in found.items() if one["censored"]]
        return [" / ".join(found), f"medians {' / '.join(words)}", ", ".join(few)]

    rows = [["free", "", *delays(summary[FREE])]]
    held = sorted(summary["hold both"].items(), key=lambda one: -float(one[0]))
    for place, (ratio, own) in enumerate(held):
        rows.append([VARIANTS["hold both"][3] if place == 0 else "", ratio, *delays(own)])
    rows += [[VARIANTS[name][3], *medians(summary[name])] for name in VARIANTS if name != "hold both"]
    return table(["", "ρ", "delay to 0.5, least – median – greatest", "runs that generalise"], rows)


#: The tables by the names that stand in their marks.
TABLES: Mapping[str, Callable[[], str]] = {"lines": lines, "delay laws": delay_laws, "norm clamp": norm_clamp}


def written(text: str) -> str:
    """Return a page with its tables written again."""

    def one(found: re.Match[str]) -> str:
        return f"<!-- table {found[1]} -->\n\n{TABLES[found[1]]()}\n\n<!-- end -->"

    return re.sub(r"<!-- table ([\w ]+) -->\n.*?<!-- end -->", one, text, flags=re.DOTALL)


if __name__ == "__main__":
    for page in sorted(DOCS.rglob("*.md")):
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")
