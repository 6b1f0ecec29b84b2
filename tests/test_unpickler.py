"""Checkpoints are untrusted input: data is read, everything else is refused and not run."""

import argparse
import collections
import contextlib
import datetime
import io
import os
import pathlib
import pickle
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest

from jaxpart.errors import JaxpartError
from jaxpart.io.tensor_files import flatten, open_checkpoint


def archive(path, data, members=()):
    """A file as torch.save lays it out, around the given pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", data)
        file.writestr("archive/byteorder", "little")
        for name, content in members:
            file.writestr(f"archive/{name}", content)
    return path


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class HostileState:
    def __reduce__(self):
        return (collections.OrderedDict, (), Call(os.system, "touch canary"))


PAYLOADS = {
    "posix.system": pickle.dumps(Call(os.system, "touch canary")),
    "builtins.eval": pickle.dumps(Call(eval, "open('canary', 'w')")),
    "builtins.exec protocol 0": pickle.dumps(Call(exec, "open('canary', 'w')"), protocol=0),
    "subprocess.check_output": pickle.dumps(Call(subprocess.check_output, ["touch", "canary"])),
    "os.system INST": b"(S'touch canary'\nios\nsystem\n.",
    "os.system OBJ": b"(cos\nsystem\nS'touch canary'\no.",
    "nt.system GLOBAL": b"cnt\nsystem\n(S'touch canary'\ntR.",
    "dotted STACK_GLOBAL": b"\x80\x04\x8c\x0bcollections\x8c\x16OrderedDict.__init__.x\x93.",
    "builtins.getattr": pickle.dumps(Call(getattr, "x", "join")),
    "functools.partial": b"cfunctools\npartial\n(cos\nsystem\nS'touch canary'\ntR.",
    "torch.storage._load_from_bytes": b"ctorch.storage\n_load_from_bytes\n(S'x'\ntR.",
    "torch.hub.load": b"ctorch.hub\nload\n(S'x'\ntR.",
    "state of an OrderedDict": pickle.dumps(HostileState()),
    "factory of a defaultdict": b"ccollections\ndefaultdict\n(cos\nsystem\ntR.",
    "numpy.load": b"cnumpy\nload\n(S'canary'\ntR.",
    "numpy object array": pickle.dumps(np.array([Call(os.system, "touch canary")], object)),
    "extension registry": b"\x80\x02\x82\x01.",
    "call of a value": b"\x80\x02cbuiltins\nint\n(S'1'\ntR.",
    "build of a value": b"\x80\x02ctorch\nfloat32\n}S'name'\nS'x'\nsb.",
    "defaults of a builder": (
        b"\x80\x02c_codecs\nencode\n(N}X\x0c\x00\x00\x00__defaults__(X\x05\x00\x00\x00utf-8tst b."
    ).replace(b"t b", b"tb"),
    "a tensor's rebuilding": (
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(c_codecs\nencode\nctorch\nTensor\n(S'x'\ntNtR."
    ),
    "importlib": b"cimportlib\nimport_module\n(S'os'\ntR.",
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_payloads_are_refused_and_not_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = archive(tmp_path / "bad.pth", PAYLOADS[name])
    with pytest.raises(JaxpartError) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["bad.pth"], "something was run"
    if PAYLOADS[name].startswith(b"c") or "." in name.split()[0]:
        assert "is not data; none of it was run" in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x05\x96" + (2**62).to_bytes(8, "little") + b".",  # a bytearray of 4 EiB
        b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b".",  # a frame
        b"\x80\x02K\x01" + b"\x85" * 100_000 + b".",  # tuples in tuples
        b"(" * 100_000 + b".",
        b"\x80\x05\x97.",  # a buffer from elsewhere
        b"Pstorage\n.",
        b"\x80\x02ccollections\nOrderedDict\nK\x01a.",  # an item for a name
        b"\x80\x02}(K\x01u.",  # a key without a value
        b"\x80\x02Np%d\n." % (2**61 - 1),  # an index whose hash is that of another
        b"\x80\x02}X\xff\x0f\x00\x00" + b"x" * 4095 + b"\x85Ns.",  # a long text in a key
        b"\x80\x02}\x8b\xff\x0f\x00\x00" + b"\x01" * 4095 + b"Ns.",  # a long integer as a key
        b"\x80\x02}cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x05\x00\x00\x00V4095\x85R"
        + b"B\xff\x0f\x00\x00"
        + b"x" * 4095
        + b"\x86RNs.",  # a long scalar as a key
        # the same list made a dictionary a hundred times
        b"\x80\x02ccollections\nOrderedDict\nq\x000("
        + b"K\x01N\x86" * 1000
        + b"lq\x010"
        + b"h\x00h\x01\x85R0" * 100
        + b"N.",
        # the same text encoded a thousand times
        b"\x80\x02c_codecs\nencode\nq\x000X\xff\x0f\x00\x00"
        + b"x" * 4095
        + b"q\x010"
        + b"h\x00h\x01\x85R0" * 1000
        + b"N.",
    ],
)
def test_what_no_data_needs(data, tmp_path):
    with pytest.raises(JaxpartError):
        open_checkpoint(archive(tmp_path / "bad.pth", data))


def test_payload_is_named(tmp_path):
    path = archive(tmp_path / "bad.pth", pickle.dumps(Call(os.system, "true")))
    with pytest.raises(JaxpartError, match=r"bad.pth: it asks for (posix|nt).system"):
        open_checkpoint(path)


def test_inert_values(tmp_path):
    value = {
        "ordered": collections.OrderedDict(a=1),
        "default": collections.defaultdict(list, {"b": [2]}),
        "namespace": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("a/b")),
        "scalar": np.float64(1.5),
        "array": np.arange(6, dtype=">i2").reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "dtype": np.dtype("<f4"),
        "set": {1, 2},
        "frozen": frozenset({3}),
        "slice": slice(1, 2, None),
        "range": range(3),
        "complex": 1 + 2j,
        "bytearray": bytearray(b"ab"),
        "none": None,
        "text": "ü",
    }
    for protocol in (2, 4, 5):
        path = archive(tmp_path / f"{protocol}.pth", pickle.dumps(value, protocol=protocol))
        read = open_checkpoint(path).contents
        assert read["namespace"] == {"lr": 0.1, "path": pathlib.PurePosixPath("a/b")}
        for name in ("array", "fortran"):
            np.testing.assert_array_equal(read.pop(name), value[name])
        expected = {k: v for k, v in value.items() if k not in ("array", "fortran", "namespace")}
        read.pop("namespace")
        assert read == expected


def test_what_training_scripts_add(tmp_path):
    """MultiStepLR's milestones, PyTorch's version, times, and tensors with attributes."""
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.ones(2))
    schedule = torch.optim.lr_scheduler.MultiStepLR(torch.optim.SGD([weight]), [2, 3, 3])
    tensor = torch.arange(3.0)
    tensor.note = "kept in PyTorch"
    value = {
        "weight": tensor,
        "schedule": schedule.state_dict(),
        "version": torch.__version__,
        "time": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        "duration": datetime.timedelta(1),
    }
    for zipped in (True, False):
        torch.save(value, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
        read = open_checkpoint(tmp_path / "a.pth").contents
        np.testing.assert_array_equal(read["weight"], np.arange(3.0))
        assert read["schedule"]["milestones"] == {2: 1, 3: 2}
        assert read.keys() == value.keys()


def tensor_pickle(offset, size, stride):
    """The pickle of one float32 tensor of storage 0."""
    file = io.BytesIO()
    file.write(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(")
    file.write(b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000")
    file.write(b"X\x03\x00\x00\x00cpuK\x04tQ")
    for argument in (offset, size, stride):
        file.write(pickle.dumps(argument, protocol=2)[2:-1])
    file.write(b"\x89ccollections\nOrderedDict\n)RtR.")
    return file.getvalue()


def test_tensor_without_torch(tmp_path):
    data = np.arange(4, dtype=np.float32)
    stored = [("data/0", data.tobytes())]
    path = archive(tmp_path / "good.pth", tensor_pickle(0, (2, 2), (1, 2)), stored)
    np.testing.assert_array_equal(open_checkpoint(path).contents, data.reshape(2, 2).T)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (3, (2,), (1,)),
        (0, (10**12,), (1,)),
        (0, (2,), (10**12,)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
    ],
)
def test_tensors_stay_inside_their_storage(offset, size, stride, tmp_path):
    stored = [("data/0", bytes(16))]
    path = archive(tmp_path / "bad.pth", tensor_pickle(offset, size, stride), stored)
    with pytest.raises(JaxpartError, match="it holds a tensor"):
        open_checkpoint(path)


def test_missing_storage(tmp_path):
    path = archive(tmp_path / "bad.pth", tensor_pickle(0, (2,), (1,)))
    with pytest.raises(JaxpartError, match="storage 0 is missing"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (pickle.dumps({"a": 1}), "plain pickle"),
        (b"PK\x03\x04" + bytes(100), "cut off"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M", "damaged"),
        (b"some text that is no checkpoint at all, and long enough to be looked at", "neither"),
    ],
)
def test_other_files(content, sentence, tmp_path):
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(content)
    with pytest.raises(JaxpartError, match=sentence):
        open_checkpoint(path)


def test_missing_file_folder_and_other_archives(tmp_path):
    with pytest.raises(JaxpartError, match="does not exist"):
        open_checkpoint(tmp_path / "none.pth")
    with pytest.raises(JaxpartError, match="is a folder"):
        open_checkpoint(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(JaxpartError, match=r"no data\.pkl"):
        open_checkpoint(tmp_path / "a.zip")
    script = archive(tmp_path / "script.pt", b"N.", [("constants.pkl", b"N.")])
    with pytest.raises(JaxpartError, match="TorchScript"):
        open_checkpoint(script)


def test_safetensors(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float16)}
    numpy.save_file(arrays, tmp_path / "x.safetensors")
    read = open_checkpoint(tmp_path / "x.safetensors").contents
    assert read.keys() == arrays.keys()
    for key in arrays:
        np.testing.assert_array_equal(read[key], arrays[key])


def test_a_safetensors_dtype_without_counterpart_is_told(tmp_path):
    """The scales of quantised weights must not get lost."""
    header = b'{"scale": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}}'
    content = len(header).to_bytes(8, "little") + header + bytes(4)
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(JaxpartError, match="holds scale of dtype F8_E8M0, which has no array"):
        open_checkpoint(tmp_path / "x.safetensors")


def test_npz(tmp_path):
    arrays = {"a/b": np.arange(6, dtype=np.float32).reshape(2, 3)}
    arrays["c"] = np.array([1.0, -2.5], ml_dtypes.bfloat16).view("V2")
    np.savez(tmp_path / "x.npz", **arrays)
    read = open_checkpoint(tmp_path / "x.npz").contents
    np.testing.assert_array_equal(read["a/b"], arrays["a/b"])
    np.testing.assert_array_equal(read["c"].astype(np.float32), [1.0, -2.5])
    np.savez(tmp_path / "bad.npz", a=np.array([Call(os.system, "touch canary")], object))
    with pytest.raises(JaxpartError, match="array of object, which is not plain numbers"):
        open_checkpoint(tmp_path / "bad.npz")


def test_torch_round_trip(tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0).reshape(4, 6)
    kinds = [
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "bool",
        "complex64",
    ]
    tensors = {name: base.to(getattr(torch, name)) for name in kinds}
    tensors |= {
        "transposed": base.T,
        "view": base[1:3, ::2],
        "scalar": torch.tensor(3.0),
        "empty": torch.empty(0, 3),
        "expanded": torch.tensor([1.0]).expand(5),
        "parameter": torch.nn.Parameter(base[0]),
        "shared": base,
    }
    extra = {"size": torch.Size([1, 2]), "dtype": torch.float32, "device": torch.device("cpu")}
    torch.save(tensors | extra, tmp_path / "x.pth")
    read = open_checkpoint(tmp_path / "x.pth").contents
    assert read["size"] == (1, 2)
    assert read["dtype"].name == "torch.float32"
    for name, tensor in tensors.items():
        assert read[name].shape == tuple(tensor.shape), name
        ours, theirs = read[name], tensor.detach()
        if name == "bfloat16":
            assert ours.dtype.name == "bfloat16"
            ours, theirs = ours.astype(np.float32), theirs.float()
        np.testing.assert_array_equal(ours, theirs.numpy(), err_msg=name)


def test_old_format(tmp_path):
    """What PyTorch before 1.6 wrote, storages that tensors share and a command line included."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "old.pth"
    whole = torch.arange(6.0).reshape(2, 3)
    value = {"a": whole, "b": whole.T[1:], "half": whole.half(), "args": argparse.Namespace(lr=1)}
    torch.save(value, path, _use_new_zipfile_serialization=False)
    read = open_checkpoint(path).contents
    for name in ("a", "b", "half"):
        np.testing.assert_array_equal(read[name], value[name].numpy())
    assert read["args"] == {"lr": 1}
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(JaxpartError, match="the end of the file is missing"):
        open_checkpoint(path)


def test_golden_files_as_torch_reads_them(golden):
    torch = pytest.importorskip("torch")
    for path in sorted((golden / "encoders").glob("*/*.pth*")):
        theirs = torch.load(path, map_location="cpu", weights_only=False)
        theirs = {k: vars(v) if isinstance(v, argparse.Namespace) else v for k, v in theirs.items()}
        expected, ours = dict(flatten(theirs)), dict(flatten(open_checkpoint(path).contents))
        assert ours.keys() == expected.keys()
        for key, value in expected.items():
            if torch.is_tensor(value):
                np.testing.assert_array_equal(ours[key], value.numpy())


def test_random_damage_ends_in_a_sentence(golden, tmp_path):
    whole = (golden / "encoders/mae/mae_pretrain_vit_base.pth").read_bytes()
    rng = np.random.default_rng(0)
    start = whole.index(b"PK\x01\x02")  # the directory; and the pickle lies at the beginning
    for trial in range(150):
        data = bytearray(whole)
        region = (0, 4000) if trial % 2 else (start, len(whole))
        for at in rng.integers(*region, 4):
            data[at] = rng.integers(256)
        path = tmp_path / "damaged.pth"
        path.write_bytes(data if trial % 5 else data[: rng.integers(len(data))])
        with contextlib.suppress(JaxpartError):  # anything else is a failure
            open_checkpoint(path)


def test_torch_is_not_imported(golden):
    code = f"""
import sys
sys.modules["torch"] = sys.modules["tensorflow"] = None
from jaxpart.io.tensor_files import open_checkpoint
open_checkpoint({str(golden / "encoders/ibot_full/checkpoint.pth")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
