"""Networks from checkpoints of PyTorch, safetensors and NumPy, and back."""

import os
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import zeroloss as zl
from problems import random_data, random_network, relative, same_bits, torch_activation
from torch_oracle import torch

pytest.importorskip("torch")

import safetensors.torch

D_IN, HIDDEN, D_OUT = 5, 7, 3


def model(dtype=torch.float32, bias=False):
    torch.manual_seed(3)
    layers = torch.nn.Linear(D_IN, HIDDEN, bias=bias), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, D_OUT, bias=bias)
    return torch.nn.Sequential(*layers).to(dtype)


def save_zip(state, path):
    torch.save(state, path)


def save_legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


def save_big_endian(state, path):
    """Save a file as a big-endian machine writes it."""
    torch.save(state, path)
    entries = zip_entries(path)
    root = next(name for name in entries if name.endswith("/data.pkl")).removesuffix("data.pkl")
    for name, tensor in zip(sorted(n for n in entries if n.startswith(f"{root}data/")), state.values(), strict=True):
        entries[name] = np.frombuffer(entries[name], f"<u{tensor.element_size()}").byteswap().tobytes()
    entries[f"{root}byteorder"] = b"big"
    write_zip(path, entries)


def zip_entries(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def save_safetensors(state, path):
    safetensors.torch.save_file(dict(state), path)


TORCH_FORMATS = [save_zip, save_legacy, save_big_endian, save_safetensors]
PRECISIONS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("save", TORCH_FORMATS)
@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
def test_state_dictionaries_are_read_in_every_format_and_precision(save, dtype, tmp_path):
    layers = model(dtype)
    save(layers.state_dict(), tmp_path / "model")
    net = zl.networks.from_checkpoint(tmp_path / "model")
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    for ours, theirs in ((net.E, layers[0].weight), (net.W, layers[2].weight)):
        assert same_bits(ours, np.ascontiguousarray(theirs.detach().to(wide).numpy().T))
    assert net.activation == "relu"
    assert net.settings == {"init": "checkpoint", "file": "model", "hidden": HIDDEN}


@pytest.mark.parametrize("activation", ["relu", "gelu", "softplus(5)"])
def test_a_network_from_a_checkpoint_computes_the_same_function(activation, tmp_path):
    layers, data = model(torch.float64), random_data(9, D_IN, D_OUT)
    torch.save(layers.state_dict(), tmp_path / "model.pth")
    net = zl.networks.from_checkpoint(tmp_path / "model.pth", activation=activation)
    outputs = layers[2](torch_activation(activation)(layers[0](torch.tensor(data.X_train))))
    expected = torch.nn.functional.mse_loss(outputs, torch.tensor(data.Y_train)).item()
    assert zl.loss_and_gradient(net, data)[0] == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_a_training_checkpoint_needs_names_of_its_other_tensors(save, tmp_path):
    layers = model()
    optimizer = torch.optim.SGD(layers.parameters(), lr=0.1, momentum=0.9)
    layers(torch.ones(2, D_IN)).sum().backward()
    optimizer.step()
    checkpoint = {"model": layers.state_dict(), "optimizer": optimizer.state_dict(), "losses": [0.5, 2], "epoch": 3}
    save({**checkpoint, "parameters": tuple(layers.parameters())}, tmp_path / "model.pth")
    names = {"E": "model.0.weight", "W": "model.2.weight"}
    with pytest.raises(ValueError, match=r"expected no other tensors .* got 'optimizer\.state\.0\.momentum_buffer'"):
        zl.networks.from_checkpoint(tmp_path / "model.pth", names, ignore=["parameters.*"])
    net = zl.networks.from_checkpoint(tmp_path / "model.pth", names, ignore=["optimizer.*", "parameters.*"])
    assert (net.E == layers[0].weight.detach().numpy().T).all()


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_strides_offsets_and_shared_storages_are_read(save, tmp_path):
    whole = torch.arange(200, dtype=torch.float64) + 1
    state = {
        "E": whole[3:38].reshape(HIDDEN, D_IN).T,
        "W": whole[40:124].reshape(HIDDEN, 4, 3)[:, 1, :],
        "zero": torch.zeros(0, 4),
        "scalar": torch.tensor(0.0),
    }
    save(state, tmp_path / "model")
    net = zl.networks.from_checkpoint(tmp_path / "model")
    assert (net.E == np.arange(4, 39).reshape(HIDDEN, D_IN).T).all()
    assert (state["W"].numpy() == net.W).all()


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_views_that_pytorch_negates_on_reading_are_read(save, tmp_path):
    whole = torch.arange(1, 25, dtype=torch.float64).reshape(3, 4, 2)
    state = {"E": torch.view_as_complex(whole).conj().imag, "W": torch.ones(4, 2)}
    assert state["E"].is_neg()
    save(state, tmp_path / "model")
    net = zl.networks.from_checkpoint(tmp_path / "model")
    assert (-whole[..., 1].numpy() == net.E).all()


@pytest.mark.parametrize("save", TORCH_FORMATS)
def test_biases_are_read_unless_they_are_ignored(save, tmp_path):
    layers = model(bias=True)
    save(layers.state_dict(), tmp_path / "model")
    both = zl.networks.from_checkpoint(tmp_path / "model")
    assert same_bits(both.bias_hidden, layers[0].bias.detach().numpy())
    assert same_bits(both.bias_output, layers[2].bias.detach().numpy())
    save({**layers.state_dict(), "1.bias": torch.ones(2)}, tmp_path / "model")
    with pytest.raises(ValueError, match=r"or named in ignore \(it is not a bias of these layers\), got '1\.bias'"):
        zl.networks.from_checkpoint(tmp_path / "model")
    save({**layers.state_dict(), "0.bias": torch.ones(HIDDEN + 1)}, tmp_path / "model")
    with pytest.raises(ValueError, match=rf"expected '0\.bias' of shape \({HIDDEN},\), got \({HIDDEN + 1},\)"):
        zl.networks.from_checkpoint(tmp_path / "model")
    with torch.no_grad():
        layers[2].bias.zero_()
    save(layers.state_dict(), tmp_path / "model")
    largest = re.escape(f"{layers[0].bias.abs().max().item():.3g}")
    with pytest.warns(RuntimeWarning, match=rf"model: '0\.bias' is dropped but not zero \(entries up to {largest}\)"):
        net = zl.networks.from_checkpoint(tmp_path / "model", ignore="0.bias")
    with torch.no_grad():
        layers[0].bias.zero_()
    save(layers.state_dict(), tmp_path / "model")
    assert same_bits(zl.networks.from_checkpoint(tmp_path / "model", ignore="*.bias").E, net.E)
    assert net.bias == "output"  # zeros, which training changes


def test_ignored_biases_are_reported_for_the_dictionaries_of_the_layers_only(tmp_path):
    """Other ignored tensors, for example of an optimizer, are not even read."""
    layers = {"net.E": np.ones((4, 3)), "net.W": np.ones((3, 2))}
    others = {"net.b_bias": np.full(3, np.nan), "net.scale": np.ones(3), "optimizer.bias": np.ones(3)}
    np.savez(tmp_path / "net.npz", **layers, **others)
    names = {"E": "net.E", "W": "net.W"}
    with pytest.warns(RuntimeWarning, match=r"'net\.b_bias' is dropped but not zero \(entries up to nan\)") as caught:
        zl.networks.from_checkpoint(tmp_path / "net.npz", names, ignore=["net.*", "optimizer.*"])
    assert len(caught) == 1


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8"])
def test_npz_files_are_read_in_every_precision(save, dtype, tmp_path):
    random = np.random.default_rng(0)
    E, W = random.standard_normal((D_IN, HIDDEN)).astype(dtype), random.standard_normal((HIDDEN, D_OUT)).astype(dtype)
    save(tmp_path / "a.npz", E=E, W=np.asfortranarray(W), note=np.array("a text"))
    net = zl.networks.from_checkpoint(tmp_path / "a.npz", activation="tanh")
    assert (net.E == E).all()
    assert (net.W == W).all()
    assert (net.dtype, net.activation) == (np.float64 if dtype[2] == "8" else np.float32, "tanh")


def test_names_and_layouts_can_be_chosen(tmp_path):
    random = np.random.default_rng(0)
    E, W = random.standard_normal((D_IN, HIDDEN)), random.standard_normal((HIDDEN, D_OUT))
    np.savez(tmp_path / "a.npz", **{"embed.weight": E, "head.weight": W.T, "first": E, "second": W.T, "weight": W.T})
    as_is, head = ("embed.weight", "as_is"), "head.weight"
    others = [(as_is, "weight"), ("first", ("second", "transposed")), (list(as_is), ("head.weight", "transposed"))]
    for first, second in [(as_is, head), *others]:
        names = {"W": second, "E": first}
        net = zl.networks.from_checkpoint(tmp_path / "a.npz", names, ignore="*")
        assert same_bits(net.E, E)
        assert same_bits(net.W, W)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["relu", "softplus(5)"])
@pytest.mark.parametrize("names", [None, {"E": ("ε.weight", "as_is"), "W": "𝒲"}])
def test_saving_and_reading_gives_the_same_bits(dtype, activation, names, tmp_path):
    net = random_network(random_data(4, D_IN, D_OUT), HIDDEN, activation, dtype)
    path = tmp_path / "new" / "net.safetensors"
    for _ in range(2):  # The second file replaces the first.
        zl.networks.to_checkpoint(net, path, names)
        back = zl.networks.from_checkpoint(path, names)
        assert same_bits(back.E, net.E)
        assert same_bits(back.W, net.W)
        assert back.activation == activation
    assert zl.networks.from_checkpoint(path, names, activation="tanh").activation == "tanh"
    assert [file.name for file in path.parent.iterdir()] == ["net.safetensors"]
    content = path.read_bytes()
    zl.networks.to_checkpoint(net, path, names)
    assert path.read_bytes() == content


def test_pytorch_loads_saved_networks(tmp_path):
    data = random_data(9, D_IN, D_OUT)
    net = random_network(data, HIDDEN)
    zl.networks.to_checkpoint(net, tmp_path / "net.safetensors")
    layers = model(torch.float64)
    layers.load_state_dict(safetensors.torch.load_file(tmp_path / "net.safetensors"))
    expected = np.maximum(data.X_train @ net.E, 0) @ net.W
    assert relative(layers(torch.tensor(data.X_train)).detach().numpy(), expected) < 1e-14


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    net = random_network(random_data(4, D_IN, D_OUT), HIDDEN)
    path = tmp_path / "net.safetensors"
    zl.networks.to_checkpoint(net, path)

    def raise_disk_full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", raise_disk_full)
    with pytest.raises(OSError, match="No space left"):
        zl.networks.to_checkpoint(net.astype("float32"), path)
    assert zl.networks.from_checkpoint(path).dtype == np.float64
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]


def test_checkpoints_are_read_without_pytorch(tmp_path):
    for save in (save_zip, save_legacy, save_safetensors):
        save(model(torch.bfloat16).state_dict(), tmp_path / save.__name__)
    code = """
import pathlib, sys
sys.modules["torch"] = None
import zeroloss as zl
print([zl.networks.from_checkpoint(path).hidden for path in pathlib.Path(sys.argv[1]).iterdir()])
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[7, 7, 7]"


E, W = np.ones((D_IN, HIDDEN)), np.ones((HIDDEN, D_OUT))
BAD = [
    ({"E": E}, {}, r"expected tensors E and W, or 0.weight and 2.weight, got neither among E \(5, 7\); set names="),
    ({"E": E, "W": W, "0.weight": E, "2.weight": W}, {}, "got both among"),
    ({"E": E, "W": W}, {"names": {"E": "a", "W": "W"}}, r"expected a tensor 'a', got E \(5, 7\), W \(7, 3\)"),
    ({"E": E, "W": W}, {"names": {"E": "E"}}, 'names: expected {"E": name, "W": name}, got E'),
    ({"E": E, "W": W}, {"names": {"E": "E", "W": "E"}}, "names: expected two tensors, got 'E' for both layers"),
    ({"E": E, "W": W}, {"names": {"E": "E", "W": ("W", "T")}}, 'names: expected a name, or a name and "transposed"'),
    ({"E": E, "W": W.T}, {}, r"expected E \(d_in, h\) and W \(h, d_out\), got E \(5, 7\) \(E, as_is\) and W \(3, 7\)"),
    ({"E": E, "W": W[0]}, {}, r"expected 'W' to be a matrix, got shape \(3,\)"),
    ({"E": E, "W": W.astype(int)}, {}, "expected 'W' of 16 to 64-bit floating-point numbers, got int64"),
    ({"E": E, "W": W + 1j}, {}, "expected 'W' of 16 to 64-bit floating-point numbers, got complex128"),
    ({"E": E, "W": W * np.nan}, {}, "W: expected finite numbers"),
    ({"E": E[:0], "W": W}, {}, "expected at least one"),
    ({"E": E, "W": W, "b": np.full(3, np.nan)}, {}, "expected no other tensors .* got 'b'"),
    ({"E": E, "W": W}, {"activation": "elu"}, "activation: expected one of"),
    ({"E": E, "W": W.astype(object)}, {}, "expected arrays of numbers, got Python objects in 'W'"),
]


@pytest.mark.parametrize(("arrays", "arguments", "message"), BAD, ids=[message for *_, message in BAD])
def test_tensors_that_are_no_network_are_rejected(arrays, arguments, message, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        zl.networks.from_checkpoint(path, **arguments)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(("names: ", f"{path}: "))


def test_files_of_other_kinds_are_rejected(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a checkpoint, found no such file"):
        zl.networks.from_checkpoint(tmp_path / "nothing")
    with pytest.raises(ValueError, match="expected a checkpoint, got a directory"):
        zl.networks.from_checkpoint(tmp_path)
    for content in (b"", b"\x00", b"text" * 9, b"\x93NUMPY"):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(ValueError, match=rf"none of these \({len(content)} bytes\)"):
            zl.networks.from_checkpoint(tmp_path / "a")
    write_zip(tmp_path / "a", {"a.txt": b"text"})
    with pytest.raises(ValueError, match="expected an npz or PyTorch archive, got another zip archive"):
        zl.networks.from_checkpoint(tmp_path / "a")
    torch.save(torch.ones(3), tmp_path / "a")
    with pytest.raises(ValueError, match="expected a dictionary of tensors, got a tensor"):
        zl.networks.from_checkpoint(tmp_path / "a")
    torch.save({"E": torch.ones(1).expand(D_IN, HIDDEN), "W": torch.ones(HIDDEN, D_OUT)}, tmp_path / "a")
    with pytest.raises(ValueError, match="expected 'E' with separate entries, got an expanded tensor"):
        zl.networks.from_checkpoint(tmp_path / "a")
    save_zip(model().state_dict(), tmp_path / "a")
    write_zip(tmp_path / "a", zip_entries(tmp_path / "a"), zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="archive that is not compressed, got a compressed one"):
        zl.networks.from_checkpoint(tmp_path / "a")
    with pytest.raises(TypeError, match="net: expected a Network, got Sequential"):
        zl.networks.to_checkpoint(model(), tmp_path / "a")


def test_a_float8_tensor_is_rejected(tmp_path):
    save_safetensors({"E": torch.ones(3, 3).to(torch.float8_e5m2), "W": torch.ones(3, 3)}, tmp_path / "a")
    with pytest.raises(ValueError, match="expected real numbers of 16 to 64 bits or integers, got F8_E5M2 in 'E'"):
        zl.networks.from_checkpoint(tmp_path / "a")


def without_an_entry(path, ending):
    return {name: content for name, content in zip_entries(path).items() if not name.endswith(ending)}


@pytest.mark.parametrize(("ending", "message"), [("data/0", "damaged file .*data/0"), ("data.pkl", "another zip")])
def test_archives_with_missing_entries_are_rejected(ending, message, tmp_path):
    save_zip(model().state_dict(), tmp_path / "a")
    write_zip(tmp_path / "a", without_an_entry(tmp_path / "a", ending))
    with pytest.raises(ValueError, match=message):
        zl.networks.from_checkpoint(tmp_path / "a")
