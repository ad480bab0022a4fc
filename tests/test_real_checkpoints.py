"""Checkpoints of training scripts, with values of many kinds next to the tensors, and files of other kinds."""

import argparse
import collections
import datetime
import decimal
import fractions
import io
import os
import pathlib
import pickle
import tracemalloc
import types
import uuid
import zipfile

import numpy as np
import pytest
import safetensors.numpy

import zeroloss as zl
from test_hostile_files import number, write_archive
from torch_oracle import torch

pytest.importorskip("torch")

LAYERS = torch.nn.Sequential(torch.nn.Linear(3, 4, bias=False), torch.nn.ReLU(), torch.nn.Linear(4, 2, bias=False))
NAMES = {"E": "model.0.weight", "W": "model.2.weight"}

VALUES = {
    "losses": [0.5] * 100_000,
    "steps": list(range(100_000)),
    "lines": [f"step {i}" for i in range(5000)],
    "history": [{"step": i, "loss": 0.5, "accuracy": np.float64(i)} for i in range(20_000)],
    "numpy losses": [np.float32(0.5), np.float64(2.0), np.int64(3), np.bool_(True), np.str_("a")] * 2000,
    "pairs": [(i, (0.5, None)) for i in range(30_000)],
    "python": [None, True, 3, 10**30, -1.5, 2j, "größe", b"bytes", bytearray(b"x"), range(3), slice(1, 2)],
    "sets": [{1, 2}, frozenset({"a"}), (), [], {}, set()],
    "keys": {1: "a", 2.5: "b", None: "c", (1, "x"): "d", b"k": "e"},
    "collections": [
        collections.OrderedDict(a=1),
        collections.defaultdict(list, a=[1]),
        collections.Counter("abca"),
        collections.deque([1, 2]),
        collections.deque([0.5, 0.25], maxlen=100),
    ],
    "times": [
        datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
        datetime.date.today(),
        datetime.timedelta(3),
    ],
    "numbers": [decimal.Decimal("0.1"), fractions.Fraction(1, 3), uuid.UUID(int=5)],
    "paths": [pathlib.Path("a/b"), pathlib.PurePosixPath("c")],
    "arguments": argparse.Namespace(lr=0.1, layers=[3, 4], inner=types.SimpleNamespace(a=1)),
    "torch": [
        torch.Size([3, 4]),
        torch.float32,
        torch.bfloat16,
        torch.device("cpu"),
        torch.tensor(2.5).double(),
        torch.strided,
    ],
    "count": torch.tensor(100, dtype=torch.int64),
    "nothing": torch.zeros(3, 3),
    "version": torch.__version__,
}


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", VALUES)
def test_values_next_to_the_tensors_are_skipped(name, protocol, new_format, tmp_path):
    content = {"model": LAYERS.state_dict(), name: VALUES[name]}
    torch.save(content, tmp_path / "a", pickle_protocol=protocol, _use_new_zipfile_serialization=new_format)
    net = zl.networks.from_checkpoint(tmp_path / "a", NAMES)
    assert (net.E == LAYERS[0].weight.detach().numpy().T).all()


FURTHER = {
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "tensors": [torch.ones(2), {"a": (torch.ones(3),)}],
    "complex": torch.ones(2, dtype=torch.complex64),
    "uint16": torch.ones(2).to(torch.uint16),
    "float8": torch.ones(2).to(torch.float8_e4m3fn),
    "random": torch.get_rng_state(),
    "numpy random": np.random.RandomState(0).get_state(),
    "numpy": np.arange(6.0).reshape(2, 3),
    "numpy fortran": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
}


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", FURTHER)
def test_further_tensors_are_rejected_unless_ignored(name, new_format, tmp_path):
    content = {"model": LAYERS.state_dict(), "more": FURTHER[name]}
    torch.save(content, tmp_path / "a", _use_new_zipfile_serialization=new_format)
    with pytest.raises(ValueError, match=r"expected no other tensors .* got 'more"):
        zl.networks.from_checkpoint(tmp_path / "a", NAMES)
    net = zl.networks.from_checkpoint(tmp_path / "a", NAMES, ignore="more*")
    assert (net.W == LAYERS[2].weight.detach().numpy().T).all()


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:The PyTorch API of nested")
@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_tensors_that_are_not_dense_are_named_unless_ignored(new_format, tmp_path):
    mask = torch.eye(3)
    others = {
        "sparse": [mask.to_sparse(), mask.to_sparse_csr()],
        "meta": [torch.empty(3, device="meta")],
        "nested": [torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])],
    }
    for kind, tensors in others.items():
        for tensor in tensors:
            file = tmp_path / "model.pth"
            torch.save({**LAYERS.state_dict(), "mask": tensor}, file, _use_new_zipfile_serialization=new_format)
            with pytest.raises(ValueError, match=f"got the {kind} tensor 'mask'; name it in ignore"):
                zl.networks.from_checkpoint(file)
            assert zl.networks.from_checkpoint(file, ignore=["mask"]).E.shape == (3, 4)


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_parameters_and_numpy_arrays_are_layers(new_format, tmp_path):
    content = {"E": torch.nn.Parameter(torch.ones(3, 4)), "W": np.asfortranarray(np.arange(8.0).reshape(4, 2))}
    torch.save(content, tmp_path / "a", _use_new_zipfile_serialization=new_format)
    net = zl.networks.from_checkpoint(tmp_path / "a")
    np.testing.assert_array_equal(net.W, content["W"])


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_a_training_checkpoint_is_read_without_its_optimizer(new_format, tmp_path):
    optimizer = torch.optim.AdamW(LAYERS.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    LAYERS(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    content = {
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {f"net.{name}": tensor for name, tensor in LAYERS.state_dict().items()},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [schedule.state_dict()],
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 3}}}},
        "train_losses": [torch.tensor(0.5)] * 2000,
    }
    torch.save(content, tmp_path / "a.ckpt", _use_new_zipfile_serialization=new_format)
    say = r"set names=\{\"E\": 'state_dict\.net\.0\.weight', \"W\": 'state_dict\.net\.2\.weight'\}"
    with pytest.raises(ValueError, match=say):
        zl.networks.from_checkpoint(tmp_path / "a.ckpt")
    names = {"E": "state_dict.net.0.weight", "W": "state_dict.net.2.weight"}
    net = zl.networks.from_checkpoint(tmp_path / "a.ckpt", names, ignore=["optimizer_states.*"])
    assert (net.W == LAYERS[2].weight.detach().numpy().T).all()


def test_ignored_tensors_are_not_read(tmp_path):
    deep = [torch.ones(2)]
    for _ in range(40):
        deep = [deep]
    torch.save({"model": LAYERS.state_dict(), "deep": deep, "x": {"y" * 2000: torch.ones(3)}}, tmp_path / "a")
    with pytest.raises(ValueError, match="expected at most 100000 values, 32 levels deep, got more"):
        zl.networks.from_checkpoint(tmp_path / "a", NAMES)
    torch.save({"model": LAYERS.state_dict(), "x": {"y" * 2000: torch.ones(3)}}, tmp_path / "a")
    with pytest.raises(ValueError, match=r"expected names of at most 1000 characters, got 'x\.yyy"):
        zl.networks.from_checkpoint(tmp_path / "a", NAMES)
    assert zl.networks.from_checkpoint(tmp_path / "a", NAMES, ignore=["x.*"]).hidden == 4
    objects = np.empty(1, object)
    np.savez(tmp_path / "a.npz", E=np.ones((3, 4)), W=np.ones((4, 2)), arguments=objects)
    assert zl.networks.from_checkpoint(tmp_path / "a.npz", ignore="arguments").hidden == 4


class Model(torch.nn.Module):
    """A model that a user defines."""


def zip_bytes(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return stream.getvalue()


def saved_bytes(value, **options):
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def script_bytes():
    stream = io.BytesIO()
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.script(LAYERS), stream)
    return stream.getvalue()


OTHERS = {
    "TorchScript": (
        script_bytes,
        r"a TorchScript archive; .*torch\.save\(torch\.jit\.load\(OLD\)\.state_dict\(\), NEW\)",
    ),
    "a model": (
        lambda: saved_bytes(LAYERS),
        r"torch\.nn\.modules\.container\.Sequential'; .*torch\.save\(model\.state_dict",
    ),
    "a model, legacy": (
        lambda: saved_bytes(LAYERS, _use_new_zipfile_serialization=False),
        r"torch\.save\(model\.state_dict\(\)",
    ),
    "one's own model": (lambda: saved_bytes(Model()), r"Model'; save only the weights of a model"),
    "a list of models": (lambda: saved_bytes([LAYERS]), r"torch\.save\(model\.state_dict\(\)"),
    "a tensor": (lambda: saved_bytes(torch.ones(3)), "expected a dictionary of tensors, got a tensor; torch"),
    "an array": (lambda: saved_bytes(np.ones(3)), "expected a dictionary of tensors, got a NumPy array"),
    "a pickle": (lambda: pickle.dumps({"E": np.ones((2, 3))}), "got another pickle; write its arrays with numpy.savez"),
    "torch.export": (lambda: zip_bytes("a/archive_format", "a/data.pkl"), r"an archive of torch\.export"),
    "Keras": (lambda: zip_bytes("config.json", "model.weights.h5"), "a Keras archive"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
    "ONNX": (lambda: b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(99), "an ONNX model"),
    "Flax": (lambda: b"\x81\xa6params\x82\xa7Dense_0" + bytes(99), "a msgpack file"),
    "Git LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "a page": (lambda: b"<!DOCTYPE html><html><head><title>Sign in", "a text file"),
    "nothing": (lambda: b"", "an empty file"),
    "a picture": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(99), "a picture"),
    "gzip": (lambda: b"\x1f\x8b\x08" + bytes(99), "a gzip file; unpack it first"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_files_of_other_kinds_are_named_with_a_remedy(kind, tmp_path):
    make, message = OTHERS[kind]
    (tmp_path / "a").write_bytes(make())
    with pytest.raises(ValueError, match=message) as caught:
        zl.networks.from_checkpoint(tmp_path / "a")
    assert str(caught.value).startswith(f"{tmp_path / 'a'}: expected")
    assert str(caught.value).isprintable()


def assert_rejected_within_memory(path, message, **options):
    tracemalloc.start()
    with pytest.raises(ValueError, match=message) as caught:
        zl.networks.from_checkpoint(path, **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20 + 2 * path.stat().st_size
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(path)) + 500


BOMBS = {
    "a memory at a huge place": (b"Nr\xff\xff\xff\x7f" * 9, None),
    "a million dictionaries": (b"(" + b"}" * 3_000_000 + b"t", "expected at most 2000000 values other than numbers"),
    "a deep list": (b"]" * 100_000 + b"a" * 99_999, "32 levels deep, got more"),
    "a string beyond the end": (b"\x8d" + (2**62).to_bytes(8, "little"), "damaged file .it is cut short"),
    "bytes beyond the end": (b"B\xff\xff\xff\x7f", "damaged file .it is cut short"),
    "a long integer beyond the end": (b"\x8b\xff\xff\xff\x7f", "damaged file .it is cut short"),
    "keys whose hashes are equal": (
        b"}(" + b"".join(number(i * (2**61 - 1)) + b"N" for i in range(1, 9)) + b"u",
        "keys that",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_pickles_that_would_take_much_memory_are_rejected(name, tmp_path):
    value, message = BOMBS[name]
    write_archive(tmp_path / "a", x=value)
    if message is None:
        assert zl.networks.from_checkpoint(tmp_path / "a", {"E": "E", "W": "W"}).hidden == 3
    else:
        assert_rejected_within_memory(tmp_path / "a", message)


def test_many_tensors_that_share_a_storage_are_rejected(tmp_path):
    whole = torch.zeros(1000, 1000)
    torch.save(
        {"E": torch.ones(2, 3), "W": torch.ones(3, 1), "x": [whole.T if i % 2 else whole for i in range(99)]},
        tmp_path / "a",
    )
    assert_rejected_within_memory(tmp_path / "a", "they share storages")


ODD_NAMES = ["\x1b[31m", "a\nb", "\u202e", "n" * 10**6, "\0", "größe", "\ud800"]


@pytest.mark.parametrize("name", ODD_NAMES, ids=range(len(ODD_NAMES)))
def test_unusual_names_of_tensors_are_named_in_one_line(name, tmp_path):
    torch.save({"E": torch.ones(2, 3), name: torch.ones(3, 1)}, tmp_path / "a")
    assert_rejected_within_memory(tmp_path / "a", "expected")
    if name.isalpha() and len(name) < 100:
        safetensors.numpy.save_file({name: np.ones((2, 2), np.float32)}, tmp_path / "b")
        assert_rejected_within_memory(tmp_path / "b", "expected tensors E and W")


HEADERS = {
    "a header of exabytes": (2**62, b'{"E":'),
    "a long header": (10**7, b'{"E":' + b" " * 10**7),
    "deep lists": (None, b'{"E":' + b"[" * 100_000),
    "a name twice": (None, b'{"E":{"dtype":"F64","shape":[],"data_offsets":[0,0]},"E":{}}'),
    "a long number": (None, b'{"E":{"dtype":"F64","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}'),
    "a negative shape": (None, b'{"E":{"dtype":"F64","shape":[-1,-1],"data_offsets":[0,8]}}' + bytes(8)),
    "a hole": (None, b'{"E":{"dtype":"F64","shape":[1],"data_offsets":[8,16]}}' + bytes(16)),
    "beyond the end": (None, b'{"E":{"dtype":"F64","shape":[9],"data_offsets":[0,72]}}' + bytes(8)),
    "no offsets": (None, b'{"E":{"dtype":"F64","shape":[9]}}'),
    "a list": (None, b'{"E":[]}'),
    "metadata that are numbers": (None, b'{"__metadata__":{"a":1}}'),
    "metadata that are a list": (None, b'{"__metadata__":[]}'),
    "no JSON": (None, b"{E}"),
    "no UTF-8": (None, b'{"\xff":1}'),
    "more behind": (None, b"{}" + bytes(9)),
}


@pytest.mark.parametrize("name", HEADERS)
def test_invalid_headers_of_safetensors_are_rejected(name, tmp_path):
    length, content = HEADERS[name]
    if length is None:
        length = content.rindex(b"}") + 1 if b"}" in content else len(content)
    (tmp_path / "a").write_bytes(length.to_bytes(8, "little") + content)
    assert_rejected_within_memory(tmp_path / "a", "expected")


def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "a")
    with pytest.raises(ValueError, match=r"expected a checkpoint, got a named pipe \(FIFO\)"):
        zl.networks.from_checkpoint(tmp_path / "a")
