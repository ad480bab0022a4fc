"""Records and snapshots that cannot fit are rejected before the first step; many are never in memory at once."""

import shutil
import tracemalloc
from collections import namedtuple

import psutil
import pytest

import zeroloss as zl
from command import run_command
from problems import same_bits
from test_runs import settings
from zeroloss import config, runs
from zeroloss.results.schedule import Schedule
from zeroloss.results.stored_rows import StoredRows

DATA = zl.datasets.modular_addition(31, train_count=12)
NET = zl.networks.normal(DATA, hidden=512, std=0.1, seed=1)  # This takes a quarter of a MB.
DESCENT = zl.GradientDescent(lr=0.1)
MB = 2**20
EVERY = [({"snapshot_every": 1}, "snapshot_every"), ({"record_every": 1}, "record_every")]

LARGE = {
    "data": {"p": 31, "train_count": 12},
    "network": {"init": "normal", "hidden": 512, "std": 0.1, "seed": 1},
    "dynamics": {"lr": 0.1, "weight_decay": 0.0},
    "run": {"steps": 128, "record_every": 16, "snapshot_every": 1, "events": []},
}


@pytest.mark.parametrize(
    ("every", "message"), [({"snapshot_every": 1}, "snapshot_every"), ({"record_every": 1}, "record")]
)
def test_records_beyond_the_memory_are_rejected(every, message):
    many = rf"{message}.*: expected to fit in .* GiB of free memory, needs"
    with pytest.raises(ValueError, match=many):
        zl.simulate(DESCENT, DATA, NET, steps=10**9, **every)
    with pytest.raises(ValueError, match=many):
        zl.simulate_many([(DESCENT, DATA, NET)] * 2, steps=10**9, progress=False, **every)
    run = zl.simulate(DESCENT, DATA, NET, steps=2, **every)
    with pytest.raises(ValueError, match=many):
        run.extend(steps=10**9)
    assert run.step == 2


def test_a_limit_of_the_process_counts_as_memory(monkeypatch):
    """As with ``ulimit -v``: 4 000 snapshots of a quarter of a MB need 1 GB."""
    resource = pytest.importorskip("resource")
    room = psutil.Process().memory_info().vms + 500 * MB
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (room, room))
    with pytest.raises(ValueError, match=r"snapshot_every: 4001 snapshots: expected to fit in 0\.[45] GiB"):
        zl.simulate(DESCENT, DATA, NET, steps=4000, snapshot_every=1)


def test_a_command_without_memory_is_one_line(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError("Unable to allocate 1. TiB")

    monkeypatch.setattr(config, "from_file", fail)
    done = run_command("run", tmp_path / "a.toml", "--out", tmp_path / "b")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "zeroloss: there is too little memory (Unable to allocate 1. TiB)\n"


def test_snapshots_beyond_the_disk_are_rejected(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(MB, 0, MB)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"run.snapshot_every: 129 snapshots: .* free space on the disk of"):
        runs.run(config.from_settings(LARGE), tmp_path / "new" / "a", progress=False)
    assert list(tmp_path.iterdir()) == []
    runs.run(config.from_settings(settings()), tmp_path / "b", progress=False)
    with pytest.raises(ValueError, match=r"run.snapshot_every: 10000001 snapshots"):
        runs.resume(tmp_path / "b", extend=10**9, progress=False)


@pytest.mark.parametrize("every", [1, 7, 100, "log"])
@pytest.mark.parametrize(("begin", "end"), [(0, 0), (0, 250), (3, 100), (100, 101), (99, 99)])
def test_counts_of_a_schedule_agree_with_its_steps(every, begin, end):
    schedule = Schedule("record_every", every)
    assert schedule.count(begin, end) == sum(schedule.due(step) for step in range(begin, end + 1))


@pytest.fixture
def peak(tmp_path):
    """Return a function that measures the peak memory of a call, without the memory of imports."""
    runs.run(config.from_settings(settings(snapshot_every=1)), tmp_path / "imports", progress=False)

    def measure(function):
        tracemalloc.start()
        found = function()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found, most / MB

    return measure


@pytest.mark.slow
def test_snapshots_are_never_all_in_memory(tmp_path, monkeypatch, peak):
    """They take 33 MB, and the limits on parts in memory are divided by 16."""
    for name in ("simulation.checkpoints._MOST_PENDING", "results.directory._LAZY_ABOVE", "results.table._JOIN_UP_TO"):
        monkeypatch.setattr(f"zeroloss.{name}", MB)
    monkeypatch.setattr("zeroloss.results.stored_rows._AT_A_TIME", MB)
    run, most = peak(lambda: runs.run(config.from_settings(LARGE), tmp_path / "a", progress=False))
    assert most < 20
    loaded, most = peak(lambda: zl.load(tmp_path / "a"))
    assert most < 20
    alone = zl.simulate(DESCENT, DATA, NET, steps=128, snapshot_every=1)
    for found in (run.snapshots, loaded.snapshots):
        assert found.sizes == alone.snapshots.sizes
        for step in (0, 17, 127, 128):
            assert same_bits(found.sel(step=step).E.values, alone.snapshots.sel(step=step).E.values)
            assert same_bits(found.W[step, :, 3].values, alone.snapshots.W[step, :, 3].values)
        assert same_bits(found.E[5:120:31].values, alone.snapshots.E[5:120:31].values)
        assert found.E.dims == alone.snapshots.E.dims
    _, most = peak(lambda: loaded.save(tmp_path / "saved"))
    assert most < 20
    loaded.save(tmp_path / "saved")
    again = zl.load(tmp_path / "saved")
    assert same_bits(again.snapshots.E[100].values, alone.snapshots.E[100].values)
    again.save(tmp_path / "saved")  # This replaces the files that it is read from.
    assert same_bits(again.snapshots.E[100].values, alone.snapshots.E[100].values)
    _, most = peak(lambda: runs.resume(tmp_path / "a", extend=8, progress=False))
    assert most < 20
    longer = alone.extend(steps=8).snapshots
    extended = zl.load(tmp_path / "a").snapshots
    assert same_bits(extended.E[136].values, longer.E[136].values)
    assert same_bits(extended.E[3].values, longer.E[3].values)


def test_many_snapshots_of_an_unfinished_run_are_read(tmp_path, monkeypatch):
    """They are read from the pieces. The last snapshot of an interrupted run is not on the schedule."""
    monkeypatch.setattr("zeroloss.results.directory._LAZY_ABOVE", 0)

    def crash(step, values):
        if step == 160:
            raise KeyError

    given = settings(checkpoint_every=70, snapshot_every=20)
    with pytest.raises(KeyError):
        runs.run(config.from_settings(given), tmp_path / "a", progress=False, on_record=crash)
    made = config.from_settings(given)
    alone = zl.simulate(made.dynamics, made.data, made.network, steps=300, snapshot_every=20).snapshots
    under_way = zl.load(tmp_path / "a").snapshots
    assert under_way.step.values.tolist() == list(range(0, 141, 20))
    assert same_bits(under_way.E.values, alone.E.values[:8])
    assert same_bits(under_way.isel(step=[1, 3, 4]).load().E.values, alone.E.values[[1, 3, 4]])
    runs.resume(tmp_path / "a", progress=False)
    assert zl.load(tmp_path / "a").snapshots.load().equals(alone)
    assert under_way.E.values.shape == (8, 7, 32)  # It is now read from the NetCDF file.
    assert same_bits(under_way.E.values, alone.E.values[:8])


def test_single_snapshots_are_read_from_few_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("zeroloss.results.directory._LAZY_ABOVE", 0)
    run = runs.run(config.from_settings(settings(snapshot_every=1)), tmp_path / "a", progress=False)
    blocks, real = [], StoredRows.blocks

    def read_and_count(self, *arguments):
        blocks.append(arguments)
        return real(self, *arguments)

    monkeypatch.setattr(StoredRows, "blocks", read_and_count)
    assert sum(1 for snapshot in run.snapshots.E if snapshot.values.shape == (7, 32)) == 301
    assert len(blocks) == 1


def test_snapshots_are_read_from_another_working_directory(tmp_path, monkeypatch):
    monkeypatch.setattr("zeroloss.results.directory._LAZY_ABOVE", 0)
    monkeypatch.chdir(tmp_path)
    run = runs.run(config.from_settings(settings(snapshot_every=100)), "a", progress=False)
    snapshots = zl.load("a").snapshots
    monkeypatch.chdir("/")
    assert snapshots.E.values.shape == run.snapshots.E.values.shape == (4, 7, 32)
