"""Files from strangers: whatever they hold, work and memory are bounded and one short sentence is said.

Every file is opened and converted in one process whose memory is limited; it would be killed, or tell of a
`MemoryError`, if a file took more.
"""

import json
import pathlib
import pickle
import struct
import subprocess
import sys
import zipfile

import pytest

MEMORY = 512 << 20
SECONDS = 60

PROGRAM = """
import contextlib, io, json, pathlib, resource, sys, time
import numpy as np
from convert.__main__ import main
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.loading import shapes_of

shapes_of(ViTConfig(depth=1))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {memory},) * 2)

def ended(family, path, layout):
    said, start = io.StringIO(), time.process_time()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main([family, str(path), f"{{path}}.out", "--layout", layout, *MORE])
        except BaseException as error:
            code = f"{{type(error).__name__}}: {{error}}"[:300]
    return code, said.getvalue().rstrip("\\n"), time.process_time() - start

{body}
"""

EACH = """
MORE = ["--num-heads", "3"]
for path in sys.argv[1:]:
    print(json.dumps([pathlib.Path(path).name, *ended("mae", path, "timm")]), flush=True)
"""

FUZZ = """
MORE = ["--num-heads", "3", "--dry-run"]  # reads everything; writing is what takes time
folder, seed, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(seed)
sources = [(pathlib.Path(path), family) for path, family in zip(sys.argv[4::2], sys.argv[5::2])]
wholes = [path.read_bytes() for path, _ in sources]
path, slowest, codes = folder / "mutated", 0.0, {}
for trial in range(count):
    which = trial % len(sources)
    data = bytearray(wholes[which])
    head, tail = min(len(data), 6000), max(0, len(data) - 12000)
    for _ in range(int(rng.integers(1, 6))):
        low, high = [(0, head), (tail, len(data)), (0, len(data))][int(rng.integers(3))]
        at, kind = int(rng.integers(low, high)), int(rng.integers(5))
        if kind == 0:
            data[at] = int(rng.integers(256))
        elif kind == 1:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            del data[at : at + int(rng.integers(1, 9))]
        elif kind == 3:
            data[at:at] = rng.bytes(int(rng.integers(1, 9)))
        else:
            data[at : at + 4] = rng.choice([b"\\\\xff" * 4, b"\\\\0" * 4, b"\\\\x7f\\\\xff\\\\xff\\\\xff"])
    if trial % 23 == 0:
        del data[int(rng.integers(len(data))) :]
    path.write_bytes(data)
    code, said, seconds = ended(sources[which][1], path, "original")
    slowest = max(slowest, seconds)
    codes[code] = codes.get(code, 0) + 1
    if code not in (0, 2) or (code == 2 and (not said.isprintable() or len(said) > 300)):
        print(json.dumps(["bad", trial, code, said[:400]]), flush=True)
print(json.dumps(["done", count, slowest, {str(k): v for k, v in codes.items()}]))
"""


def run(body, *arguments, memory=MEMORY):
    program = PROGRAM.format(memory=memory, body=body.replace("\\\\\\\\", "\\\\"))
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr[-2000:])
    return [json.loads(line) for line in done.stdout.splitlines()]


def archive(path, data, members=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", data)
        for name, content in members:
            file.writestr(f"archive/{name}", content)


def tensor(size, stride):
    call = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
    call += b"X\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ"
    call += b"".join(pickle.dumps(argument, 2)[2:-1] for argument in (0, size, stride))
    return call + b"\x89ccollections\nOrderedDict\n)RtR"


def state_dict(**tensors):
    names = {name.replace("_0_", ".0.").replace("__", "."): t for name, t in tensors.items()}
    items = [b"X" + struct.pack("<I", len(k)) + k.encode() + t for k, t in names.items()]
    return b"\x80\x02}(" + b"".join(items) + b"u."


def shared(opening, closing, levels=60):
    """Containers of which each holds the one before twice."""
    data = b"\x80\x02]q\x00"
    for level in range(levels):
        inner = b"h" + bytes([level])
        data += opening + b"q" + bytes([level + 1]) + b"(" + closing(inner)
    return data + b"."


PICKLES = {
    "memo": b"\x80\x02}r\xff\xff\xff\x7f.",
    "lists": shared(b"]", lambda inner: inner + inner + b"e"),
    "dicts": shared(b"}", lambda inner: b"K\x01" + inner + b"K\x02" + inner + b"u"),
    "tuples": b"\x80\x02K\x01" + b"2\x86" * 200 + b".",
    "tuple_key": b"\x80\x02}K\x01" + b"2\x86" * 40 + b"K\x01s.",
    "deep_tuple": b"\x80\x02K\x01" + b"\x85" * 50_000 + b".",
    "deep_tuple_key": b"\x80\x02}K\x01" + b"\x85" * 50_000 + b"K\x01s.",
    "deep_set": b"\x80\x04(K\x01" + b"\x85" * 50_000 + b"\x91.",
    "integer": pickle.dumps({"a": 1 << 40_000}, 2),
    "integer_key": pickle.dumps({1 << 4_000: 1}, 2),
    # written out, as a dictionary of them would take 10 s here too
    "colliding_keys": b"\x80\x02}("
    + b"".join(pickle.dumps(i * ((1 << 61) - 1), 2)[2:-1] + b"K\x01" for i in range(1, 50_000))
    + b"u.",
    "marks": b"\x80\x02" + b"(" * 900_000 + b".",
    "values": b"\x80\x02" + b"N0" * 400_000 + b"N.",
    "strange_names": pickle.dumps({"\x1b[31m\n" * 999: 1, "long": "a" * 900_000}, 2),
    "strange_global": b"\x80\x02c" + b"a" * 100_000 + b"\n" + b"\x1b[0m" * 999 + b"\n.",
    "huge_shape": state_dict(cls_token=tensor((1, 1, 10**9), (0, 0, 0))),
    "no_width": state_dict(
        patch_embed__proj__weight=tensor((0, 3, 4, 4), (0, 0, 0, 0)),
        blocks_0_norm1__weight=tensor((0,), (1,)),
    ),
    "no_axes": state_dict(
        patch_embed__proj__weight=tensor((), ()),
        blocks_0_norm1__weight=tensor((3,), (1,)),
        blocks_0_mlp__fc2__weight=tensor((3, 1), (1, 1)),
        cls_token=tensor((1, 1, 3), (0, 0, 1)),
    ),
}


@pytest.mark.slow
def test_each_ends_in_a_short_sentence(tmp_path):
    for name, data in PICKLES.items():
        archive(tmp_path / f"{name}.pth", data, [("data/0", bytes(16))])
    zeros = bytes(200 << 20)
    archive(tmp_path / "bomb.pth", b"N.", [("data/0", zeros)], zipfile.ZIP_DEFLATED)
    archive(tmp_path / "bomb_pickle.pth", zeros, compression=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", zeros)
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"{i:x}": entry for i in range(14_000)}).encode()
    (tmp_path / "names.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    twice = b'{"a":%s,"a":%s}' % ((json.dumps(entry).encode(),) * 2)
    (tmp_path / "twice.safetensors").write_bytes(struct.pack("<Q", len(twice)) + twice)
    files = sorted(tmp_path.iterdir())
    for name, code, said, seconds in run(EACH, *files):
        assert code == 2, (name, code, said)
        assert said.isprintable(), name
        assert len(said) <= 300, (name, said)
        assert seconds < 4, (name, seconds)  # 2 s on a machine that does nothing else
    assert sorted(tmp_path.iterdir()) == files


CASES = 1200


@pytest.mark.slow
def test_mutated_goldens(golden, tmp_path):
    """Bytes of released checkpoints changed, taken out and put in, in PyTorch's formats and others."""
    import numpy as np

    from jaxpart.io.tensor_files import open_checkpoint

    sources = []
    for name, family in (("mae", "mae"), ("dino_full", "dino"), ("beit_finetuned", "beit")):
        path = next((golden / f"encoders/{name}").glob("*.pth"))
        sources += [path, family]
    arrays = open_checkpoint(sources[0]).contents["model"]
    np.savez(tmp_path / "mae.npz", **arrays)
    save = pytest.importorskip("safetensors.numpy").save_file
    save({k: np.ascontiguousarray(v) for k, v in arrays.items()}, tmp_path / "mae.safetensors")
    sources += [tmp_path / "mae.safetensors", "mae", tmp_path / "mae.npz", "mae"]
    folder = tmp_path / "out"
    folder.mkdir()
    *bad, (_, count, slowest, codes) = run(FUZZ, folder, 0, CASES, *sources, memory=2 << 30)
    assert not bad, bad[:3]
    assert count == CASES
    assert slowest < 20, slowest
    assert set(codes) <= {"0", "2"}
    assert codes["2"] > CASES // 4
    assert {path.name for path in pathlib.Path(folder).iterdir()} == {"mutated"}
