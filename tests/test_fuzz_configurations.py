"""Every TOML type at every key, and files with changed bytes: one line per problem, status 2, no traceback."""

import codecs
import contextlib
import datetime
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from command import run_command
from zeroloss import _sections, _toml, config
from zeroloss._hints import get_defaults
from zeroloss.config import ConfigurationError

CASES = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

deep = []
for _ in range(50):
    deep = [deep]
VALUES = [
    "",
    "x",
    "a\n\x1b[31m\u202eb",
    "n" * 100_000,
    "\0",
    0,
    -1,
    10**30,
    -(10**30),
    10**4000,
    1.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    True,
    datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    datetime.date(2024, 1, 2),
    datetime.time(1, 2),
    [],
    ["x"],
    [1, "x", None],
    [[[1]]],
    list(range(20_000)),
    {},
    {"a": 1},
    [{"a": [1]}],
    deep,
]
#: A small problem, because many values of some keys are valid.
SMALL = {
    "data": {"task": "modular_addition", "p": 3, "test_count": 1},
    "network": {"init": "uniform_fan_in", "hidden": 4, "seed": 1},
    "dynamics": {"kind": "gradient_descent", "lr": 0.1},
    "run": {"steps": 1},
}
CHOICES = [(name, choice) for name, section in _sections.BUILT.items() for choice in section.choices]


def keys_of(name, choice):
    return [_sections.BUILT[name].selector, *get_defaults(_sections.BUILT[name].choices[choice])]


def checked_problems(sections):
    """Return the problems of settings. Check that each is a printable line without internal names."""
    try:
        config.from_settings(sections)
    except ConfigurationError as error:
        for line in error.problems:
            assert len(line) < 2200
            assert line.isprintable()
            for word in (
                "pydantic",
                "Traceback",
                "positional argument",
                "instance of",
                "NoneType",
                "_network_from_file",
            ):
                assert word not in line
        return error.problems
    return []


@pytest.mark.parametrize(("name", "choice"), CHOICES)
def test_every_type_at_every_key_is_accepted_or_one_line(name, choice):
    selector = _sections.BUILT[name].selector
    for key, value in itertools.product(keys_of(name, choice), VALUES):
        found = checked_problems({**SMALL, name: {selector: choice, key: value}})
        assert all(isinstance(line, str) for line in found)


def test_every_type_at_every_key_of_a_run_is_accepted_or_one_line():
    for key, value in itertools.product(config.RunSettings.model_fields, VALUES):
        checked_problems({**SMALL, "run": {key: value}})


def test_every_type_for_a_section_is_accepted_or_one_line():
    for value in VALUES:
        for name in (*SMALL, "sweep", "runs", "", "a\nb"):
            checked_problems({**SMALL, name: value})
    for value in (3, None, "x", []):
        with pytest.raises(TypeError, match="settings: expected a mapping of sections"):
            config.from_settings(value)


def assert_rejected(tmp_path, content, expected):
    (tmp_path / "a.toml").write_bytes(content)
    for word in ("run", "sweep"):
        done = run_command(word, tmp_path / "a.toml", "--out", tmp_path / "out")
        assert done.returncode == 2
        assert all(line.startswith("zeroloss: ") and line.isprintable() for line in done.stderr.splitlines())
        assert expected in done.stderr
        assert not (tmp_path / "out").exists()


FILES = {
    "UTF-16": (
        "[data]\np = 7\n".encode("utf-16"),
        "expected a configuration file in UTF-8, got UTF-16 or binary data; save it as UTF-8",
    ),
    "UTF-16 without a mark": ("[data]\n".encode("utf-16-le"), "expected a configuration file in UTF-8"),
    "Latin-1": ("# größe\n".encode("latin-1"), "expected a configuration file in UTF-8, got other bytes at 4"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0", "expected a configuration file in UTF-8"),
    "JSON": (b'{"data": {"p": 7}}', "expected TOML, got"),
    "deep brackets": (b"a = " + b"[" * 100_000, "expected TOML, got brackets that are nested too deeply"),
    "deep tables": (b"a = " + b"{a = " * 100_000, "expected TOML, got brackets that are nested too deeply"),
    "a long key": (b"a." * 300_000 + b"a = 1", "expected TOML with keys of fewer than 50 parts"),
    "a long header": (b"[" + b"'a' . " * 300_000 + b"a]", "expected TOML with keys of fewer than 50 parts"),
    "a long number": (b"a = " + b"9" * 10_000, "expected TOML, got"),
    "a large file": (b"#" * (17 * 2**20), "expected a configuration file of at most 16777216 bytes"),
    "a key twice": (b"[data]\np = 7\np = 8\n", "expected TOML, got"),
    "deep lists": (b"[data]\np = " + b"[" * 100 + b"]" * 100, "expected at most 20 levels of nested lists and tables"),
}


@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_configuration_are_rejected(kind, tmp_path):
    assert_rejected(tmp_path, *FILES[kind])


def test_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "a.toml").write_bytes(codecs.BOM_UTF8 + config.from_settings(SMALL).text().encode())
    assert config.from_file(tmp_path / "a.toml").settings == config.from_settings(SMALL).settings


def test_a_value_instead_of_a_section_is_reported_with_overrides(tmp_path):
    (tmp_path / "a.toml").write_text("data = 3\n")
    with pytest.raises(ConfigurationError, match=r"data: expected a section \[data\], got 3"):
        config.from_file(tmp_path / "a.toml", data={"p": 7})


def test_unsupported_keys_are_answered_with_the_supported_ones():
    for section, key, words in (
        ("dynamics", "minibatch", "batch_size"),
        ("network", "use_bias", "say bias"),
        ("network", "layers", "two layers"),
        ("data", "classes", "integer labels"),
        ("run", "epochs", "say steps"),
    ):
        assert any(words in line for line in checked_problems({**SMALL, section: {**SMALL[section], key: 3}}))


@CASES
@given(some.data())
def test_files_with_changed_bytes_are_read_or_rejected(tmp_path_factory, data):
    """The problem in the file may be large, so it is not run."""
    path = tmp_path_factory.mktemp("a") / "a.toml"
    content = bytearray(config.from_settings(SMALL).text().encode())
    for _ in range(data.draw(some.integers(1, 3))):
        place = data.draw(some.integers(0, len(content) - 1))
        if data.draw(some.booleans()):
            content[place] = data.draw(some.integers(0, 255))
        else:
            del content[place : place + data.draw(some.integers(1, 60))]
    path.write_bytes(content)
    with contextlib.suppress(ConfigurationError):
        config.from_file(path)


@CASES
@given(
    some.dictionaries(
        some.text(max_size=8),
        some.recursive(
            some.one_of(some.none(), some.booleans(), some.integers(), some.floats(), some.text(max_size=5)),
            lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner, max_size=3),
        ),
        max_size=4,
    )
)
def test_any_sections_are_accepted_or_one_line(sections):
    checked_problems({**SMALL, **sections})
    checked_problems({**SMALL, "dynamics": {**SMALL["dynamics"], **sections}})


def test_invalid_values_on_the_command_line_are_named(tmp_path):
    (tmp_path / "a.toml").write_text(_toml.dumps(SMALL))
    for change, words in (
        ("dynamics.lr=" + "[" * 10_000, "dynamics.lr"),
        ("dynamics.lr=" + "9" * 5000, "dynamics.lr"),
        ("dynamics.kind=['x']", "dynamics.kind: expected one of"),
        ("network.init=file", "network.file: missing; expected a string"),
        ("dynamics.minibatch=3", "batch_size"),
        ("data=3", "--set: expected SECTION.KEY=VALUE"),
        ("data.p=1979-05-27", "data.p: expected an integer of at least 2, got"),
    ):
        done = run_command("run", tmp_path / "a.toml", "--out", tmp_path / "out", "--set", change)
        assert done.returncode == 2
        assert words in done.stderr
