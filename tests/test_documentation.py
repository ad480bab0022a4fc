"""The documentation site: cells and commands run as printed; links, paths and the list of modules are complete."""

import inspect
import json
import re
import shlex
import signal

import check_site
import notebooks
import pytest

import zeroloss as zl
from pages import PAGES, ROOT, cells, code_blocks, commands, read_page, run_and_read
from zeroloss import cli, datasets
from zeroloss.studies import CHECKS, FIGURES, STUDIES

COMMANDS = [words[1:] for words in commands("docs/reference/command-line.md")]
ONE_AFTER_THE_OTHER = [words for words in COMMANDS if words[0] in {"run", "resume", "report", "view"}]
BY_THEMSELVES = [words for words in COMMANDS if words not in ONE_AFTER_THE_OTHER]

#: Settings that shorten the quick form of a study further.
SHORT = {
    "5": ["steps=2000"],
    "sliding": ["duration=0.2", "proximal=[1e-1, 3e-2]", "long_duration=0.3", "weight_decays=[1e-4]"],
    "direction": ["p=5", "hidden=32", "test_count=3", "duration=1", "marks=9", "span=5", "kept_time=0.2"],
}


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Change to a directory with the examples of the repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def check_quick_start(lines, folder):
    outcome, events, network, shape, memorised, generalises, _, ended, norms, accuracy, longer = lines
    assert outcome == "reached the end: 6000 steps"
    assert events.startswith("{'train_accuracy >= 1': ")
    assert network.startswith("Network(11 → 128 → 11")
    assert shape == "(7, 11)"
    assert memorised == "memorised at step 0"
    assert 500 < int(generalises.split()[-1]) < 3000
    assert ended.startswith("reached the end: time 2 in ")
    before, after = (float(word) for word in norms.split()[-3::2])
    assert after < before
    assert float(accuracy.split()[-1]) == 1.0
    assert longer.startswith("reached the end: ")
    assert (folder / "grokking").is_dir()


def check_questions(lines, _):
    step, network = lines
    assert 1000 < int(step) < 6000
    assert network.startswith("Network(11 → 64 → 11")


def check_port(lines, _):
    """A step of descent agrees with PyTorch, whose result the page quotes."""
    printed = float(re.search(r"It prints `(\S+)`", read_page("docs/how-to/port-a-pytorch-script.md"))[1])
    assert float(lines[0]) == pytest.approx(printed, rel=1e-9)


def check_tasks(lines, _):
    accuracies, shown, counts, chance, same = lines
    assert accuracies.startswith("[")
    assert shown.startswith("Dataset(77 training and 33 test samples, 22 inputs in sparse rows, 11 outputs, 11 classes")
    assert counts == "77 and 33 samples, 11 classes"
    assert chance == "chance level 0.09090909090909091"
    assert same == "True"


def check_checkpoints(lines, folder):
    assert lines[0].startswith("Network(11 → 64 → 11, activation='gelu', dtype='float64'")
    assert {file.name for file in folder.iterdir()} == {"examples", "mlp.npz", "net.safetensors"}


def check_measures(lines, _):
    shares, steps, *measured, at_event, cosines, reasons, text, residual, tangent, smallest = lines
    assert steps.split() == ["step", "0", "4000"]
    values = {name: (float(first), float(last)) for name, first, last in map(str.split, measured)}
    assert values["margin"][0] < 0 < values["margin"][1]
    assert values["kernel_alignment"][0] < float(at_event) < 1
    assert 1 < values["rank"][1] <= 11
    assert 0.2 <= values["frequency_share"][1] <= 1
    assert all(0 < float(share) < 1 for share in shares.strip("[]").split())
    assert cosines.startswith("[  nan") or cosines.startswith("[ nan")
    assert reasons == "[1 0 0 0 0 0 0 0 0]"
    assert "1 there was no update" in text
    assert float(residual) < 1e-10
    assert 0 < float(tangent.split()[-1]) < 1
    assert 0.2 < float(smallest.split()[-1]) < 0.6


def check_plots(lines, folder):
    start, end = (int(re.search(r"± (\d+) %", line)[1]) for line in lines)
    assert end < start
    assert (folder / "run.pdf").read_bytes().startswith(b"%PDF")


def check_training_options(lines, _):
    losses = {name: float(line.split()[-1]) for line in lines[:4] for name in [line.split(":")[0]]}
    assert losses["both"] < losses["W"]
    minibatches, noisy = ([float(value) for value in line.strip("[]").split()] for line in lines[4:])
    assert minibatches[-1] < 0.01 * minibatches[0]
    assert noisy[-1] < 0.1 * noisy[0]


def check_biases(lines, _):
    assert lines[0] == "(128,) (11,)"
    loss, norm = map(float, lines[1].split())
    assert loss < 0.01
    assert norm > 0
    assert lines[2] == "(12, 128) (129, 11) [(12, 128), (129, 11)]"


def check_curvature(lines, _):
    sharpness, along, same, largest, traces, negative = lines
    assert float(sharpness) == pytest.approx(0.393, abs=5e-4)
    values = [float(value) for value in along.strip("[]").split()]
    assert values[0] == 0.393
    assert max(values) < 1
    assert same == "True"
    assert float(largest.strip("[]").split()[0]) == values[-1]
    exact, estimate, error = (float(number) for number in re.findall(r"\d+\.\d+", traces)[:3])
    assert abs(exact - estimate) < 5 * error
    assert negative == "negative curvature: True"


def check_end_states(lines, _):
    smooth, message, certificate, units, relu, pinned, kept, gain, among, shortest, residuals = lines
    assert smooth.startswith("StationaryPoint(minimum: objective 0.0015476938507, KKT ") or "0.00154769385069" in smooth
    assert message == "the point is a strict local minimum"
    assert certificate.startswith("True True ")
    assert units == "11 active units, rank of J 65"
    assert relu.startswith("StationaryPoint(minimum: objective 0.0112")
    assert "24 of 24 units active" in relu
    assert int(pinned.split()[0]) > 20
    assert kept.startswith("StationaryPoint(minimum: objective 0.0113")
    assert 0 < float(pinned.split()[-1]) < float(gain.split()[-1])
    assert among.endswith("among the active units and with their sides")
    assert shortest.startswith("minimum with a squared norm of 23.")
    before, after = residuals.split()
    assert 0.1 < float(before) < 1
    assert after == "True"


def check_events(lines, _):
    events, recorded, outcome = lines
    exact = int(re.search(r"'test_accuracy >= 0.95': (\d+)", events)[1])
    assert "'norm_E < 1': None" in events
    assert 0 <= int(recorded) - exact < 100
    assert outcome.startswith("stopped by a rule: ")


def check_schedules(lines, _):
    assert 0.5 < float(lines[0].removeprefix("slow time ")) < 0.65  # 1e-4 · (250 + 0.55 · 9500)


def check_long_runs(lines, _):
    first, extended = lines
    assert first.startswith("reached the end: 1000 steps {")
    assert extended.startswith("reached the end: 10000 steps {")


def check_sweeps(lines, _):
    sizes, accuracy, cube, accuracies, network = lines
    assert "'run': 4" in sizes
    assert 0 <= float(accuracy) <= 1
    assert "'weight_decay': 3" in cube
    assert accuracies.startswith("[")
    assert network.startswith("Network(11 → 128 → 11")


def check_delays(lines, _):
    match = re.fullmatch(r"(\d+) runs, (\d+) censored, exponent Estimate\(value=(\S+), .*\)", lines[0])
    runs, censored, value = match.groups()
    assert runs == "9"
    assert 0 < int(censored) < 6
    assert -2 < float(value) < 0


#: The check of the lines that the cells of a page print.
CHECKS_OF_PAGES = {
    "docs/quick-start.md": check_quick_start,
    "docs/questions.md": check_questions,
    "docs/how-to/port-a-pytorch-script.md": check_port,
    "docs/how-to/training-options.md": check_training_options,
    "docs/how-to/your-own-data.md": check_tasks,
    "docs/how-to/biases.md": check_biases,
    "docs/how-to/checkpoints.md": check_checkpoints,
    "docs/how-to/measures.md": check_measures,
    "docs/how-to/plots.md": check_plots,
    "docs/how-to/curvature.md": check_curvature,
    "docs/how-to/end-states.md": check_end_states,
    "docs/how-to/exact-events.md": check_events,
    "docs/how-to/learning-rate-schedules.md": check_schedules,
    "docs/how-to/long-runs.md": check_long_runs,
    "docs/how-to/sweeps.md": check_sweeps,
    "docs/how-to/delays.md": check_delays,
}


def test_every_page_with_cells_is_checked():
    with_cells = {page for page in PAGES if cells(page)}
    assert with_cells == {*CHECKS_OF_PAGES, "docs/how-to/own-dynamics.md"}  # the last one by test_own_dynamics.py


@pytest.mark.parametrize("page", CHECKS_OF_PAGES)
def test_cells_run_in_order_and_print_the_expected_lines(page, folder, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    names = {"__name__": "page"}
    lines = [line for cell in cells(page) for line in run_and_read(cell, names)]
    CHECKS_OF_PAGES[page](lines, folder)


def test_the_pytorch_script_prints_the_number_on_its_page():
    pytest.importorskip("torch")
    page = "docs/how-to/port-a-pytorch-script.md"
    names = {}
    run_and_read(cells(page)[0], names)
    (script,) = code_blocks(page, "python")
    (loss,) = run_and_read(script, names)
    assert float(loss) == pytest.approx(float(names["run"].history.train_loss[-1]), rel=1e-9)


def test_the_table_of_tasks_is_complete():
    table = read_page("docs/how-to/your-own-data.md")
    tasks = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)\(", " ".join(tasks))) == {*datasets.TASKS, "from_arrays"}


def test_commands_on_a_run_work_one_after_the_other(folder, capsys):
    """Each one continues with the files of the previous one."""
    for words in ONE_AFTER_THE_OTHER:
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        printed = capsys.readouterr()
        assert (ended.value.code, printed.err) == (0, "")
        assert ("page: " if words[0] == "view" else "reached the end: ") in printed.out


@pytest.mark.parametrize("words", BY_THEMSELVES, ids=" ".join)
def test_commands_of_the_package_work(words, folder, capsys):
    """Commands that take minutes run in the quick form with one seed, or in a shorter one."""
    takes_minutes = words[0] in {"reproduce", "check", "study"} and "--quick" not in words
    quick = ["--quick", "--seeds", "1"] if takes_minutes else []
    quick += [word for setting in SHORT.get("".join(words[1:2]), ()) for word in ("--set", setting)]
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, *quick])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.err) == (0, "")
    assert printed.out


def test_the_example_of_a_long_run_runs(folder):
    (example,) = code_blocks("docs/how-to/long-runs.md", "python")
    (line,) = run_and_read(example)
    assert line.startswith("reached the end: 1000 steps {'train_accuracy >= 1': ")


def test_the_command_of_a_long_run_works(folder, capsys):
    (words,) = commands("docs/how-to/long-runs.md")
    with pytest.raises(SystemExit) as ended:
        cli.main(words[1:])
    assert ended.value.code == 0
    assert capsys.readouterr().out == "out/a: reached the end: 1000 steps\n"


def test_the_command_of_a_sweep_works(folder, capsys):
    (words,) = commands("docs/how-to/sweeps.md")
    with pytest.raises(SystemExit) as ended:
        cli.main([*words[1:], "--use-threads"])
    assert ended.value.code == 0
    assert re.match(r"out/sweep: 15 cells; 15 to run, \d+ at a time, about ", capsys.readouterr().out)
    cube = zl.sweeps.open_sweep("out/sweep")
    run = zl.load(f"out/sweep/cells/{cube.cell.isel(weight_decay=0, data_seed=0).item()}")
    assert str(run.network).startswith("Network(11 → 128 → 11")


def commands_within_sentences():
    """Yield the commands in backquotes, as ``zeroloss resume DIR --out OTHER``."""
    for page in PAGES:
        text = " ".join(read_page(page).split())
        yield from re.findall(r"`zeroloss (\w[^`…]*)`", text)


@pytest.mark.parametrize("line", sorted(set(commands_within_sentences())))
def test_commands_within_sentences_exist(line):
    """Their options are known, and so are the figures, theorems and studies. A single name is a command."""
    name, *words = shlex.split(line)
    (command,) = [each for each in cli.COMMANDS if each.name == name]
    if words and words != ["--help"]:
        context = command.make_context(name, list(words))
        known = {"reproduce": FIGURES, "check": CHECKS, "study": STUDIES}
        if name in known:
            assert words[0] in context.params["names"]
            assert {*context.params["names"]} <= {*known[name]}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", read_page(page))
    files = [(ROOT / page).parent / link for link in links if not link.startswith("https://")]
    if (ROOT / "PKG-INFO").exists():  # an unpacked source distribution, which has no pictures
        files = [file for file in files if file.suffix != ".png"]
    assert [file for file in files if not file.exists()] == []


def test_the_code_that_pages_name_exists():
    names = {
        name for page in PAGES for name in re.findall(r"`((?:python|csrc|tests|bench)/[\w./-]+)`", read_page(page))
    }
    assert len(names) > 40
    assert [name for name in sorted(names) if not (ROOT / name).exists()] == []


def test_the_reference_has_a_page_for_every_public_module():
    """The page of a module is made of its ``__all__``; ``make docs`` checks that each name has an entry."""
    modules = {f"zeroloss.{name}" for name in zl.__all__ if inspect.ismodule(getattr(zl, name))}
    listed = re.findall(r"^   (zeroloss\S*)$", read_page("docs/reference/index.rst"), re.MULTILINE)
    assert sorted(listed) == sorted({"zeroloss", *modules})
    assert {f"{module}.{name}" for module in modules for name in eval(module, {"zeroloss": zl}).__all__} <= (
        check_site.list_public_names()
    )


def test_broken_links_of_a_site_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#here">b</a> <a href="b.html#there"></a> <a href="c.html"></a>')
    (tmp_path / "b.html").write_text('<p id="here"></p> <a href="https://arxiv.org">paper</a> <a href="a.html"></a>')
    assert check_site.find_broken_links(tmp_path) == ["a.html: b.html#there", "a.html: c.html"]


def test_notebooks_have_the_cells_of_their_pages(tmp_path):
    pages = notebooks.write_notebooks(tmp_path)
    assert {f"docs/{page}.md" for page in pages} == {page for page in PAGES if cells(page)}
    assert len(list(tmp_path.iterdir())) == len(pages)
    for page in pages:
        content = json.loads((tmp_path / notebooks.name_notebook(page)).read_text(encoding="utf-8"))
        sources = {"code": [], "markdown": []}
        for cell in content["cells"]:
            sources[cell["cell_type"]].append(cell["source"])
        assert sources["code"] == [cell.strip("\n") for cell in cells(f"docs/{page}.md")]
        assert sources["markdown"][0].startswith("# ")
        assert re.findall(r"\]\((?!https?://)", "".join(sources["markdown"])) == []


def test_the_guide_to_the_examples_lists_every_file():
    guide = read_page("examples/README.md")
    files = {path.name for path in (ROOT / "examples").iterdir() if path.suffix in {".toml", ".py"}}
    assert set(re.findall(r"`(?:python examples/)?(\w+\.(?:toml|py))`", guide)) == files
    assert [link for link in re.findall(r"\]\((\S+)\)", guide) if not (ROOT / "examples" / link).exists()] == []
