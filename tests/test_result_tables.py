"""The tables of results in the documentation are those of the files that commands wrote."""

import importlib.util
import json
from dataclasses import asdict

import pytest

from pages import PAGES, ROOT, read_page

RESULTS = sorted(path.stem for path in (ROOT / "docs" / "results").glob("*.json"))


@pytest.fixture(scope="module")
def tables():
    found = importlib.util.spec_from_file_location("result_tables", ROOT / "tools" / "result_tables.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_tables_are_those_of_the_files(tables, page):
    text = read_page(page)
    assert tables.replace_tables(text) == text, "python tools/result_tables.py writes the tables again"


def test_every_table_is_on_a_page(tables):
    pages = "".join(map(read_page, PAGES))
    assert [name for name in tables.TABLES if pages.count(f"<!-- table {name} -->") != 1] == []


@pytest.mark.parametrize("name", RESULTS)
def test_files_are_of_the_full_form_of_today_s_settings(tables, name):
    """A study whose settings or summary change has to be carried out again."""
    study, about = tables.list_studies()[name], tables.read_result(name)
    assert about["settings"] == json.loads(json.dumps(asdict(study.full)))
    assert about["seeds"] == study.seeds(study.full)
    assert about["build"]["zeroloss"]
    assert study.line(tables.settings_of(study), about["summary"])


def test_a_table_that_differs_is_noticed(tables):
    text = read_page("docs/results/delays.md")
    assert tables.replace_tables(text.replace("(−1.023", "(−1.024")) == text
