"""Files of samples of every wrong kind: one line with the file's name, quickly, and with little memory."""

import os
import socket
import stat
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import zeroloss as zl
from command import run_command
from zeroloss._reading import describe_kind, read_npz, reading

CASES = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SAMPLES = {"X_train": np.eye(3), "Y_train": np.ones((3, 2)), "X_test": np.eye(3)[:1], "Y_test": np.ones((1, 2))}


def checked_error(path):
    """Return the message about a file of samples, or None if it is read. Check its form, and the memory used."""
    tracemalloc.start()
    try:
        zl.datasets.from_file(path)
    except (ValueError, OSError) as error:
        message = str(error)
        name = repr(os.fspath(path))[1:-1]
        assert message.startswith(f"{name}: ")
        assert message.isprintable()
        assert len(message) < len(name) + 400
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
        return message
    finally:
        tracemalloc.stop()
    return None


def write_archive(path, compression=zipfile.ZIP_STORED, **entries):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(f"{name}.npy", content)
    return path


def encode_array(format_header, data=b"", version=(1, 0)):
    text = format_header.encode().ljust(118) + b"\n"
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + text + data


def format_header(shape="(1,)", descr="'<f8'", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


HEADERS = {
    "open brackets": "{'descr': '<f8', 'shape': (((",
    "deep brackets": format_header("(" * 300 + ")" * 300),
    "a deep sum": format_header("1" + "+1" * 400),
    "a huge shape": format_header("(100000000000,)"),
    "more than 64 bits": format_header("(10000000000, 10000000000, 10000000000)"),
    "a negative shape": format_header("(-1, -1)"),
    "a long number": format_header(f"({'9' * 900},)"),
    "many dimensions": format_header(f"({'1,' * 200})"),
    "objects": format_header(descr="'|O'"),
    "nothing an entry": format_header("(10000000000,)", descr="'<U0'"),
    "a structure": format_header(descr="[('a', '<f8'), ('b', '<f8')]"),
    "wide texts": format_header(descr="'<U1000000000'"),
    "no dictionary": "[1, 2]",
    "a call": "__import__('os').system('true')",
    "nothing": "",
    "a null character": "\0",
}


@pytest.mark.parametrize("name", HEADERS)
def test_invalid_headers_of_arrays_are_rejected(name, tmp_path):
    data = b"\0" * 8
    for version in ((1, 0), (2, 0), (3, 0), (9, 9)):
        path = write_archive(
            tmp_path / "a.npz",
            X_train=encode_array(HEADERS[name], data, version),
            Y_train=encode_array(format_header(), data),
        )
        assert "expected" in checked_error(path)


def test_bombs_are_rejected_before_they_expand(tmp_path):
    zeros = encode_array(format_header("(20000000,)"), bytes(16 * 10**7))
    path = write_archive(
        tmp_path / "a.npz", zipfile.ZIP_DEFLATED, X_train=zeros, Y_train=encode_array(format_header(), b"\0" * 8)
    )
    assert path.stat().st_size < 2**18
    assert "expected an archive that expands to at most" in checked_error(path)
    many = {f"x{i}": encode_array(format_header("(0,)")) for i in range(3000)}
    assert "expected at most 2000 arrays" in checked_error(write_archive(tmp_path / "b.npz", **many))
    names = {"x" * 60_000 + str(i): b"" for i in range(80)}
    assert "list of entries takes at most 4194304 bytes" in checked_error(write_archive(tmp_path / "c.npz", **names))


def test_zeros_that_compress_well_are_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", X_train=np.zeros((4000, 500)), Y_train=np.ones((4000, 1)))
    assert zl.datasets.from_file(tmp_path / "a.npz").train_count == 4000


def test_samples_are_read_without_a_second_copy(tmp_path):
    np.savez(tmp_path / "a.npz", X_train=np.ones((10**6, 8)), Y_train=np.ones((10**6, 1)))
    tracemalloc.start()
    zl.datasets.from_file(tmp_path / "a.npz")
    assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    tracemalloc.stop()


@pytest.fixture
def others(tmp_path):
    """Return paths that are no files of samples, by the words for them in the message."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nowhere").symlink_to(tmp_path / "nothing")
    found = {
        "a directory": tmp_path,
        "a named pipe": tmp_path / "pipe",
        "a device": "/dev/zero",
        "cannot be read: Too many levels": tmp_path / "loop",
        "no such file": tmp_path / "nowhere",
        "a NUL character": "a\0b",
        "cannot be read: File name too long": tmp_path / ("x" * 300),
    }
    contents = {
        "an empty file": b"",
        "a text file": b"[data]\ntask = 'arrays'\n",
        "a picture": b"\x89PNG\r\n\x1a\n",
        "an HDF5 file": b"\x89HDF\r\n\x1a\n\0\0",
        "a single array": b"\x93NUMPY\x01\0",
        "a file of another kind": bytes(range(256)),
        "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid",
        "an ONNX model": b"\x08\x07\x12\x07pytorch\x1a\x052.0",
    }
    for number, (kind, content) in enumerate(contents.items()):
        found[kind] = tmp_path / f"file{number}\n\x1b[31m"
        found[kind].write_bytes(content)
    write_archive(tmp_path / "z", a="text")
    with zipfile.ZipFile(tmp_path / "zip", "w") as file:
        file.writestr("a.txt", "text")
    found["another zip archive"] = tmp_path / "zip"
    with zipfile.ZipFile(tmp_path / "lzma", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("X_train.npy", "text")
    found["stored or deflated"] = tmp_path / "lzma"
    return found


def test_files_that_are_no_samples_are_named_by_their_kind(others, tmp_path, monkeypatch):
    for kind, path in others.items():
        assert kind in checked_error(path)
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)
        server.bind("socket")
        assert "a socket" in checked_error("socket")
    with pytest.raises(TypeError, match="path: expected the name of an npz file"):
        zl.datasets.from_file(3)


def test_a_file_without_permission_is_not_called_damaged(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", **SAMPLES)

    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", deny)
    with pytest.raises(PermissionError, match=r"a\.npz: cannot be read: Permission denied"):
        zl.datasets.from_file(tmp_path / "a.npz")


def test_a_name_that_cannot_be_encoded_is_not_called_damage():
    """As the name größe.npz with LC_ALL=C."""
    with pytest.raises(ValueError, match=r"^\\ud800.npz: cannot be opened, because names of files are utf-8 here"):
        zl.datasets.from_file("\ud800.npz")


def test_an_archive_with_a_name_twice_is_rejected(tmp_path):
    content = write_archive(tmp_path / "a.npz", X_train=b"", X_trail=b"").read_bytes()
    (tmp_path / "a.npz").write_bytes(content.replace(b"X_trail", b"X_train"))
    assert "a name twice" in checked_error(tmp_path / "a.npz")


@CASES
@given(some.data())
def test_damaged_files_are_read_or_rejected_in_one_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("a") / "a.npz"
    save = data.draw(some.sampled_from([np.savez, np.savez_compressed]))
    save(path, **SAMPLES)
    content = bytearray(path.read_bytes())
    if data.draw(some.booleans()):
        content = content[: data.draw(some.integers(0, len(content) - 1))]
    else:
        for _ in range(data.draw(some.integers(1, 3))):
            content[data.draw(some.integers(0, len(content) - 1))] = data.draw(some.integers(0, 255))
    path.write_bytes(content)
    checked_error(path)


def test_every_array_that_numpy_writes_is_read(tmp_path):
    arrays = {
        "integers": np.arange(6, dtype=">i4").reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "scalar": np.array(3.5),
        "text": np.array("größe"),
        "bytes": np.array([b"a", b"bc"]),
        "truth": np.array([True, False]),
        "complex": np.array([1j]),
        "empty": np.empty((0, 4)),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        with reading(tmp_path / "a.npz", "arrays") as file:
            found = read_npz(file)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)


def test_integer_labels_are_explained():
    with pytest.raises(ValueError, match="give the number of classes for integer labels, classes=10"):
        zl.datasets.from_arrays(np.eye(3), [0, 1, 2])


def test_the_command_names_the_file(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    (tmp_path / "a.toml").write_text('[data]\ntask = "arrays"\nfile = "a.npz"\n')
    done = run_command("run", tmp_path / "a.toml", "--out", tmp_path / "a")
    assert done.returncode == 2
    assert f"{tmp_path / 'a.npz'}: expected an npz file of samples, got a named pipe" in done.stderr
    assert stat.S_ISFIFO((tmp_path / "a.npz").stat().st_mode)
    assert describe_kind(b"\xff\xd8\xff") == "a picture"
