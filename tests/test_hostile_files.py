"""Checkpoints that are damaged or malicious: one clear message, and nothing in them is executed."""

import collections
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

import zeroloss as zl
from problems import same_bits
from torch_oracle import torch


def save_small_checkpoint(kind, path):
    """Write a small checkpoint of a kind; return its content and its network."""
    layers = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 1, bias=False))
    if kind == "ours":
        zl.networks.to_checkpoint(zl.networks.from_arrays(np.eye(2), np.ones((2, 1)), "tanh"), path)
    elif kind == "npz":
        stream = io.BytesIO()
        np.savez_compressed(stream, E=np.eye(2), W=np.ones((2, 1)))
        path.write_bytes(stream.getvalue())
    else:
        torch.save(layers.state_dict(), path, _use_new_zipfile_serialization=kind == "zip")
    return path.read_bytes(), zl.networks.from_checkpoint(path)


@pytest.mark.parametrize("kind", ["ours", "npz", "zip", "legacy"])
def test_truncated_files_are_rejected(kind, tmp_path):
    content, _ = save_small_checkpoint(kind, path := tmp_path / "a")
    for length in range(0, len(content), 1 + len(content) // 300):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="expected") as caught:
            zl.networks.from_checkpoint(path)
        assert str(caught.value).startswith(f"{path}: ")


def flip_bits(content, every):
    for at in range(0, len(content), every):
        yield content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]


def checked_network(path):
    """Return the network, or None if the file is rejected with a proper message."""
    try:
        return zl.networks.from_checkpoint(path)
    except ValueError as error:
        message = str(error)
    assert message.startswith(f"{path}: expected")
    assert "\n" not in message
    return None


@pytest.mark.parametrize(("kind", "every"), [("ours", 1), ("npz", 1), ("zip", 3)])
def test_a_flipped_bit_is_reported_or_changes_nothing(kind, every, tmp_path):
    content, net = save_small_checkpoint(kind, path := tmp_path / "a")
    rejected = total = 0
    for damaged in flip_bits(content, every):
        path.write_bytes(damaged)
        got, total = checked_network(path), total + 1
        rejected += got is None
        if got is not None:
            assert same_bits(got.E, net.E)
            assert same_bits(got.W, net.W)
            assert got.activation == net.activation
    assert rejected > total / 4


def test_a_flipped_bit_of_a_legacy_file_is_read_or_rejected(tmp_path):
    # It has no checksum, so that numbers and names may change.
    content, _ = save_small_checkpoint("legacy", path := tmp_path / "a")
    rejected = 0
    for damaged in flip_bits(content, 1):
        path.write_bytes(damaged)
        rejected += checked_network(path) is None
    assert rejected > len(content) / 2


class Call:
    """An object that is pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


HARMS = {
    "os.system": lambda mark: Call(os.system, f"touch {mark}"),
    "eval": lambda mark: Call(eval, f"open({mark!r}, 'w')"),
    "exec": lambda mark: Call(exec, f"open({mark!r}, 'w')"),
    "open": lambda mark: Call(open, mark, "w"),
    "torch.save": lambda mark: Call(torch.save, 1, mark),
    "within a call": lambda mark: Call(collections.OrderedDict, [("a", Call(os.system, f"touch {mark}"))]),
}


def layers(**more):
    return collections.OrderedDict(E=torch.ones(2, 3), W=torch.ones(3, 1), **more)


def hide_in_attributes(harm):
    state = layers()
    state._metadata = {"": harm}
    return state


PLACES = {
    "alone": lambda harm: harm,
    "a layer": lambda harm: {"E": harm, "W": torch.ones(3, 1)},
    "next to the layers": lambda harm: layers(x=harm),
    "nested": lambda harm: layers(x=[({"y": (1, harm)},)]),
    "attributes": hide_in_attributes,
}


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("harm", HARMS)
def test_nothing_is_executed(harm, place, protocol, new_format, tmp_path):
    path = tmp_path / "a"
    hostile = PLACES[place](HARMS[harm](str(tmp_path / "mark")))
    torch.save(hostile, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new_format)
    with pytest.raises(ValueError, match="expected a dictionary of tensors and nothing to execute, got a mention of"):
        zl.networks.from_checkpoint(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def text(string):
    return b"X" + struct.pack("<i", len(string)) + string.encode()


def tuple_of(*values):
    return b"(" + b"".join(value if isinstance(value, bytes) else number(value) for value in values) + b"t"


def number(value):
    encoded = pickle.encode_long(value)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def tensor(shape, strides, offset=0, length=6, key="0", kind=b"ctorch\nFloatStorage\n"):
    storage = tuple_of(text("storage"), kind, text(key), text("cpu"), length) + b"Q"
    parts = storage, offset, tuple_of(*shape), tuple_of(*strides), b"\x89", b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + tuple_of(*parts) + b"R"


VALID = {"E": tensor((2, 3), (3, 1)), "W": tensor((3, 1), (1, 1))}


def write_archive(path, **values):
    """Write a file as torch.save does, with a pickle that is assembled here."""
    items = b"".join(text(name) + value for name, value in (VALID | values).items())
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02}(" + items + b"u.")
        file.writestr("a/data/0", np.arange(6, dtype="<f4").tobytes())


def nest_lists(levels):
    """Return a pickle of nested lists, each of which contains the next one twice: 2^levels values in a few bytes."""
    return b"]" if levels == 0 else b"](%sq%ch%ce" % (nest_lists(levels - 1), levels, levels)


EXECUTE = "expected a dictionary of tensors and nothing to execute, got a mention of"
OPCODE = "expected a dictionary of tensors, got a pickle with opcode"
PICKLES = {
    "a mention": (b"cposix\nsystem\n", rf"{EXECUTE} 'posix\.system'"),
    "a mention put together": (text("builtins") + text("eval") + b"\x93", rf"{EXECUTE} 'builtins\.eval'"),
    "an attribute of a known function": (
        text("torch._utils") + text("_rebuild_tensor_v2.__globals__") + b"\x93",
        rf"{EXECUTE} 'torch\._utils\._rebuild_tensor_v2\.__globals__'",
    ),
    "a name that is none": (number(1) + number(2) + b"\x93", f"{EXECUTE} 'a computed name'"),
    "another thing of PyTorch": (b"ctorch\nload\n", rf"{EXECUTE} 'torch\.load'"),
    "an instance": (b"(iposix\nsystem\n", f"{OPCODE} INST"),
    "an object": (b"(ccollections\nOrderedDict\no", f"{OPCODE} OBJ"),
    "a new object": (b"ccollections\nOrderedDict\n)\x81", f"{OPCODE} NEWOBJ"),
    "an extension": (b"\x82\x01", f"{OPCODE} EXT1"),
    "a textual reference": (b"Pa\n", f"{OPCODE} PERSID"),
    "a call of a type": (b"ctorch\nFloatStorage\n)R", "a call that makes something else"),
    "a call of a string": (text("eval") + text("1") + b"\x85R", "a call that makes something else"),
    "a dictionary from items": (b"ccollections\nOrderedDict\n(]tR", "a call that makes something else"),
    "attributes of a function": (b"ctorch._utils\n_rebuild_tensor_v2\n}b", "expected items or attributes for a dict"),
    "attributes of a tensor": (VALID["E"] + b"}b", "expected items or attributes for a dictionary"),
    "items for a tuple": (b")" + number(1) + b"a", "expected items for a list"),
    "a deep key": (b"})" + 100_000 * b"\x85" + b"Ns", "expected keys that are strings or integers"),
    "a deep value": (b")" + 100_000 * b"\x85", "32 levels deep, got more"),
    "itself": (b"}q\x00" + text("x") + b"h\x00s", "32 levels deep, got more"),
    "a list of lists of lists": (nest_lists(30), "expected at most 100000 values"),
    "an empty stack": (b"tt", "damaged"),
    "an unknown value": (b"h\x07", "damaged"),
    "a reference to nothing": (b"NQ", "damaged"),
    "beyond its storage": (tensor((2, 3), (3, 1), offset=1), "expected 'x' within its storage of 6 entries"),
    "far beyond": (tensor((2, 3), (2**62, 2**62)), "expected 'x' within its storage of 6 entries"),
    "before its storage": (tensor((2, 3), (-3, 1), offset=3), "expected sizes that are whole numbers"),
    "a negative size": (tensor((-2, 3), (3, 1)), "expected sizes that are whole numbers"),
    "more strides than sizes": (tensor((2, 3), (3, 1, 1)), "expected a stride for each of up to 64 sizes"),
    "a million million entries": (tensor((10**6, 10**6), (0, 0)), "with separate entries, got an expanded tensor"),
    "many sizes": (tensor(70 * (1,), 70 * (1,)), "expected a stride for each of up to 64 sizes"),
    "no entry, but far": (tensor((0, 2**62, 2**62), (1, 1, 1)), "damaged"),
    "a longer storage": (tensor((2, 3), (3, 1), length=7), "expected 28 bytes of storage '0', got 24"),
    "a missing storage": (tensor((2, 3), (3, 1), key="1"), "damaged"),
    "a storage elsewhere": (tensor((2, 3), (3, 1), key="../../../../etc/passwd"), "damaged"),
    "a storage of another kind": (tensor((2, 3), (3, 1), kind=b"ctorch\nQInt8Storage\n"), EXECUTE),
    "a storage of no kind": (tensor((2, 3), (3, 1), kind=text("FloatStorage")), "expected a reference to a storage"),
}


@pytest.mark.parametrize("name", PICKLES)
def test_malicious_pickles_are_rejected(name, tmp_path):
    value, message = PICKLES[name]
    write_archive(tmp_path / "a", x=value)
    with pytest.raises(ValueError, match=message) as caught:
        zl.networks.from_checkpoint(tmp_path / "a")
    assert str(caught.value).startswith(f"{tmp_path / 'a'}: expected")
    assert len(str(caught.value)) < len(str(tmp_path)) + 300


def test_a_valid_assembled_pickle_is_read(tmp_path):
    far = b"Nr\xff\xff\xff\x7f"  # The number in the memo is 2³¹ − 1, for which no table is allocated.
    write_archive(tmp_path / "a", x=far)
    net = zl.networks.from_checkpoint(tmp_path / "a", names={"E": "E", "W": "W"})
    assert (np.arange(6).reshape(2, 3) == net.E).all()


def test_a_legacy_file_of_a_big_endian_machine_is_rejected(tmp_path):
    content, _ = save_small_checkpoint("legacy", path := tmp_path / "a")
    flag = content.index(b"little_endian") + len("little_endian")
    at = content.index(b"\x88", flag)
    path.write_bytes(content[:at] + b"\x89" + content[at + 1 :])
    with pytest.raises(ValueError, match="of a little-endian machine, got one of a big-endian machine"):
        zl.networks.from_checkpoint(path)


def test_an_archive_with_an_impossible_expanded_size_is_rejected(tmp_path):
    with zipfile.ZipFile(path := tmp_path / "a", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("E.npy", bytes(1000))
    content = path.read_bytes()
    size = struct.pack("<I", 1000)
    entry = content.rindex(size)
    path.write_bytes(content[:entry] + struct.pack("<I", 2**32 - 2) + content[entry + 4 :])
    with pytest.raises(ValueError, match="expected an archive that expands to at most 64 MiB"):
        zl.networks.from_checkpoint(path)


@pytest.mark.parametrize("kind", ["ours", "npz", "zip", "legacy"])
def test_a_file_larger_than_memory_is_rejected(kind, tmp_path, monkeypatch):
    save_small_checkpoint(kind, path := tmp_path / "a")
    monkeypatch.setattr("zeroloss._resources.available_memory", lambda: 10)
    with pytest.raises(ValueError, match=r"a: its content: expected to fit in 0\.0 GiB of free memory"):
        zl.networks.from_checkpoint(path)
