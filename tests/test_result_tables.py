"""The tables of results in the documentation agree with the files that commands wrote."""

import importlib.util
import json
from dataclasses import asdict

import pytest

from pages import PAGES, ROOT, read_page

RESULTS = sorted(path.stem for path in (ROOT / "docs" / "results").glob("*.json"))


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("result_tables", ROOT / "tools" / "result_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_tables_agree_with_the_files(tables, page):
    text = read_page(page)
    assert tables.replace_tables(text) == text, "python tools/result_tables.py writes the tables again"


def test_every_table_is_on_a_page(tables):
    pages = "".join(map(read_page, PAGES))
    assert [name for name in tables.TABLES if pages.count(f"<!-- table {name} -->") != 1] == []


@pytest.mark.parametrize("name", RESULTS)
def test_files_have_the_full_settings_of_today(tables, name):
    """If the settings or the summary of a study change, its file has to be computed again."""
    study, content = tables.list_studies()[name], tables.read_result(name)
    assert content["settings"] == json.loads(json.dumps(asdict(study.full)))
    assert content["seeds"] == study.seeds(study.full)
    assert content["build"]["zeroloss"]
    assert study.line(tables.settings_of(study), content["summary"])


def test_a_table_that_differs_is_noticed(tables):
    text = read_page("docs/results/delays.md")
    assert tables.replace_tables(text.replace("(−1.023", "(−1.024")) == text
