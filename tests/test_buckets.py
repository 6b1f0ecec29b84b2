"""Paths that begin with gs:// or s3://, against emulators of both stores on this machine."""

import asyncio
import contextlib
import json
import logging
import os
import pathlib
import socket
import subprocess
import sys
import time
import types

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpart import devices
from jaxpart.config import part_config
from jaxpart.data.critters import Critters
from jaxpart.data.prepared import Prepared, find_prepared
from jaxpart.data.preparing import prepare
from jaxpart.data.sets import open_set
from jaxpart.encoders.loading import load_encoder, random_encoder
from jaxpart.encoders.saving import save_encoder
from jaxpart.encoders.small import small_config
from jaxpart.errors import JaxpartError
from jaxpart.evaluation import measure
from jaxpart.features.cache import Cache, Shard
from jaxpart.io.checkpoints import Checkpointer
from jaxpart.io.files import (
    moved_into_place,
    on_disk,
    path_of,
    remove_folder,
    remove_left,
    write_folder,
    write_json,
)
from jaxpart.report.build import make_report
from jaxpart.report.runs import read_runs
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import VERSION, Row, read_rows
from jaxpart.runs.workdir import WorkDir

BUCKET = "test-bucket"
CONFIG = json.loads(part_config("mae", "", projector=False).to_json_best_effort())
OPTIONS = {
    "tasks": ("retrieval", "classification"),
    "data.num_images": 10,
    "data.image_size": 64,
    "retrieval.batch_size": 16,
    "classification.references": (),
    "classification.selection": False,
    "classification.heads": ("linear",),
    "classification.linear.epochs": 2,
    "classification.linear.batch_size": 16,
    "classification.encoder_batch_size": 16,
}
ROW = Row("cub_parts", "retrieval", "AP", 0.25, representation="embedding")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def google(port):
    server = pytest.importorskip("gcp_storage_emulator.server")
    pytest.importorskip("gcsfs")
    running = server.create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    running.start()
    yield {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}
    running.stop()


@contextlib.contextmanager
def amazon(port):
    moto = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = moto.ThreadedMotoServer("127.0.0.1", port, verbose=False)
    running.start()
    address = f"http://127.0.0.1:{port}"
    s3fs.S3FileSystem(key="me", secret="mine", endpoint_url=address).mkdir(BUCKET)
    yield {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "mine",
    }
    running.stop()


@pytest.fixture(scope="module", params=[google, amazon], ids=["gs", "s3"])
def store(request):
    """The scheme of a store that is emulated, while processes' environment leads to it."""
    with request.param(free_port()) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield "gs" if request.param is google else "s3"


@pytest.fixture
def bucket(store, request):
    """A folder in a bucket, of the test's own."""
    return path_of(f"{store}://{BUCKET}/{request.node.originalname}")


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("path", ["gs://", "s3://", "az://bucket/run", "https://host/run"])
def test_what_is_no_path_of_a_bucket_is_told(path):
    with pytest.raises(JaxpartError, match=r"(gs|s3)://BUCKET/FOLDER"):
        path_of(path)


def test_paths_on_a_disk_are_as_they_were():
    assert type(path_of("runs/one")) is type(pathlib.Path("runs/one"))
    assert path_of("c:/d") == pathlib.Path("c:/d")
    with pytest.raises(JaxpartError, match="a file of features cannot be in a bucket"):
        on_disk("gs://bucket/features.npz", "a file of features")


def test_a_path_is_used_as_one_on_a_disk(bucket):
    assert not (bucket / "a").exists()
    assert not bucket.is_dir()
    assert list(bucket.iterdir()) == list(bucket.glob("*")) == []
    write_json(bucket / "a" / "one.json", {"one": 1})
    write_json(bucket / "two.json", {"two": "é"})
    assert bucket.is_dir()
    assert (bucket / "a" / "one.json").is_file()
    assert not (bucket / "a").is_file()
    assert names(bucket) == ["a/one.json", "two.json"]
    assert [path.name for path in bucket.glob("*.json")] == ["two.json"]
    assert sorted(path.name for path in bucket.iterdir()) == ["a", "two.json"]
    assert json.loads((bucket / "two.json").read_text(encoding="utf-8"))["two"] == "é"
    assert str(bucket.resolve() / "a") == f"{bucket}/a"
    (bucket / "two.json").unlink()
    remove_folder(bucket)
    remove_folder(bucket)
    assert not bucket.exists()


def test_nothing_is_written_where_something_is_raised(bucket):
    def write(folder):
        (folder / "inner").mkdir()
        (folder / "inner" / "array").write_text("new")
        raise OSError(28, "No space left on device")

    write_folder(bucket / "out", lambda folder: (folder / "array").write_text("old"))
    with pytest.raises(JaxpartError, match="No space left"):
        write_folder(bucket / "out", write)
    with pytest.raises(NotADirectoryError), moved_into_place(bucket / "file") as temporary:
        (temporary / "none").write_text("")
    assert names(bucket) == ["out/array"]


def test_a_folder_whose_writer_was_killed_is_removed(bucket, monkeypatch):
    from jaxpart.io import buckets

    def write(folder):
        (folder / "figures").mkdir()
        (folder / "figures" / "a.png").write_text("a")
        (folder / "report.json").write_text("{}")

    def killed(file, path):
        if path.name == "report.json":
            raise KeyboardInterrupt
        upload(file, path)

    write_folder(bucket / "out", lambda folder: (folder / "old").write_text("old"))
    upload = buckets.upload
    monkeypatch.setattr(buckets, "upload", killed)
    with pytest.raises(KeyboardInterrupt):
        write_folder(bucket / "out", write)
    monkeypatch.undo()
    assert names(bucket) == ["out/.writing", "out/figures/a.png"]  # what readers look for is last
    remove_left(bucket, "out")
    assert not (bucket / "out").exists()
    write_folder(bucket / "out", write)
    remove_left(bucket, "out")
    assert names(bucket) == ["out/figures/a.png", "out/report.json"]


@pytest.mark.slow
def test_a_run_in_a_bucket_goes_on_and_is_reported(bucket):
    run = WorkDir(bucket / "run", CONFIG)
    run.row(ROW)
    again = WorkDir(bucket / "run", CONFIG)
    again.belongs_to("the encoder", "one")
    assert [entry["value"] for entry in again.measured()] == [0.25]
    about = {"name": "mae", "trained": True, "digest": "0" * 64, "weights": "yours"}
    results = {"version": VERSION, "encoder": about, "tasks": ["retrieval"], "rules": {}}
    again.finish(results | {"rows": [ROW.fields()]})
    with pytest.raises(JaxpartError, match="another configuration"):
        WorkDir(bucket / "run", CONFIG | {"seed": 1})
    assert read_runs([str(bucket / "run")])[0].rows[0].value == 0.25
    for _ in range(2):  # an earlier report is replaced
        make_report([str(bucket / "run")], bucket / "report", None, Progress(shown=False))
    assert (bucket / "report" / "index.html").is_file()
    with pytest.raises(JaxpartError, match="not an earlier report"):
        make_report([str(bucket / "run")], bucket / "run", None, Progress(shown=False))


def test_what_needs_a_disk_says_so(bucket):
    with pytest.raises(JaxpartError, match="TensorBoard events cannot be in a bucket"):
        WorkDir(bucket, CONFIG, tensorboard=True)


def test_a_bucket_that_is_missing_is_told(store):
    with pytest.raises(JaxpartError, match="written: there is no bucket missing-bucket;"):
        WorkDir(path_of(f"{store}://missing-bucket/run"), CONFIG)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "permission for the bucket test-bucket is denied"),
        (403, "permission for the bucket test-bucket is denied"),
        (503, "the bucket test-bucket does not answer"),
        (400, "the bucket test-bucket rejects the request"),
    ],
)
def test_a_refusal_is_told(store, bucket, monkeypatch, status, said):
    async def google_refuses(self, method, path, *args, **kwargs):
        import gcsfs

        gcsfs.retry.validate_response(status, b'{"error": {"message": "so"}}', "path")

    async def amazon_refuses(self, operation, *args):
        from botocore.exceptions import ClientError

        answer = {"HTTPStatusCode": status, "HTTPHeaders": {}}
        raise ClientError({"Error": {"Code": str(status)}, "ResponseMetadata": answer}, operation)

    if store == "gs":
        monkeypatch.setattr("gcsfs.GCSFileSystem._request", google_refuses)
    else:
        monkeypatch.setattr("aiobotocore.client.AioBaseClient._make_api_call", amazon_refuses)
    with pytest.raises(JaxpartError, match=f"{bucket}/identity.json cannot be read: {said}"):
        WorkDir(bucket, CONFIG)
    with pytest.raises(JaxpartError, match=f"cannot be written: {said}"):
        write_json(bucket / "file.json", {})


def test_a_connection_that_is_cut_is_told(store, bucket, monkeypatch):
    async def at_once(seconds):
        pass

    nobody = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setattr(asyncio, "sleep", at_once)  # of the half minute for which it tries again
    if store == "gs":
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", nobody)
    else:
        session = pytest.importorskip("aiobotocore.httpsession").AIOHTTPSession
        send = session.send

        def elsewhere(self, request):
            request.url = request.url.replace(os.environ["AWS_ENDPOINT_URL"], nobody)
            return send(self, request)

        monkeypatch.setattr(session, "send", elsewhere)
    with pytest.raises(
        JaxpartError, match="cannot be read: the bucket test-bucket does not answer"
    ):
        WorkDir(bucket, CONFIG)


@pytest.mark.slow
def test_credentials_that_are_missing_are_told(tmp_path):
    pytest.importorskip("s3fs")
    environment = {name: v for name, v in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    command = ["-m", "jaxpart.report", "s3://bucket/run", "--out", "report"]
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "there are no credentials for the bucket bucket" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_encoder_in_a_bucket_is_loaded(bucket):
    encoder = random_encoder("mae", small_config("mae"))
    save_encoder(encoder, str(bucket))
    with pytest.raises(JaxpartError, match="exists; name another folder"):
        save_encoder(encoder, str(bucket))
    again = load_encoder(str(bucket), put=np.asarray)
    assert again.digest == encoder.digest
    remove_folder(bucket / "weights" / "d")
    with pytest.raises(JaxpartError, match="are damaged"):
        load_encoder(str(bucket))
    remove_folder(bucket / "weights")
    with pytest.raises(JaxpartError, match="are missing; convert the checkpoint again"):
        load_encoder(str(bucket))


@pytest.mark.slow
def test_a_checkpoint_in_a_bucket_is_read_back(bucket):
    def state(value):
        return devices.replicate({"kernel": np.full((3, 2), value, np.float32)})

    for step in (1, 2):
        checkpointer = Checkpointer(bucket)
        checkpointer.save(step, state(step), {"epoch": step})
        checkpointer.wait()
    assert [path.name for path in bucket.iterdir()] == ["2"]  # one is kept
    with moved_into_place(bucket / "2" / ".writing"):
        pass
    assert Checkpointer(bucket).restore(state(0)) is None  # its writer was killed
    checkpointer = Checkpointer(bucket)
    checkpointer.save(3, state(3), {"epoch": 3})
    checkpointer.wait()
    step, found, place = Checkpointer(bucket).restore(state(0))
    assert (step, place) == (3, {"epoch": 3})
    assert jnp.array_equal(found["kernel"], state(3)["kernel"])
    checkpointer.delete()
    assert not bucket.exists()
    assert Checkpointer(bucket).restore(state(0)) is None


def test_features_in_a_bucket_are_shared_by_machines(store, bucket, tmp_path, monkeypatch):
    address = {"encoder": "one", "view": "patch 64"}
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)

    def on(machine, folder=bucket):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        return Cache("disk", str(folder))

    kept = on("first").write(address, Shard(["a", "b", "c"], rows))
    assert isinstance(kept.rows, np.memmap)
    (file,) = bucket.rglob("*")
    other = on("second")
    ((shard,), complaints) = other.read(address)
    assert (list(shard.ids), complaints) == (["a", "b", "c"], [])
    assert isinstance(shard.rows, np.memmap)
    np.testing.assert_array_equal(shard.rows, rows)
    assert other.describe().endswith(f"kept in {bucket}")
    assert other.read({**address, "encoder": "another"}) == ([], [])

    with moved_into_place(file) as temporary:
        temporary.write_bytes(b"damaged")
    found, complaints = on("third").read(address)
    assert not found
    assert "are damaged" in complaints[0]
    assert not file.exists()  # its rows are made again

    with pytest.raises(JaxpartError, match=r"written \(there is no bucket missing-bucket\);"):
        on("third", f"{store}://missing-bucket/features").write(address, kept)
    monkeypatch.setattr("jaxpart.features.cache.is_main", lambda: False)
    on("third").write(address, kept)
    assert not file.exists()  # the main process writes it


def test_prepared_data_in_a_bucket_are_read(bucket):
    drawn = {split: Critters(split, 3, image_size=32) for split in ("train", "test")}
    folder, summaries = prepare("critters", drawn, str(bucket), workers=1)
    assert summaries.keys() == drawn.keys()
    assert prepare("critters", drawn, str(bucket)) == (folder, {})
    assert not (folder / ".writing").exists()
    found = find_prepared(str(bucket), "critters")
    assert found == folder
    source = Prepared(found, "test")
    assert [source[i].image for i in range(3)] == [drawn["test"][i].image for i in range(3)]
    assert find_prepared(str(bucket), "lip") is None
    with pytest.raises(
        JaxpartError, match="no prepared lip, and only prepared data sets can be read"
    ):
        open_set("lip", "train", types.SimpleNamespace(root=str(bucket)))
    (folder / "annotations-train.npz").unlink()
    with pytest.raises(JaxpartError, match=r"annotations-train\.npz"):
        Prepared(found, "train")


SHARED = """
import pathlib, sys
import jax
import numpy as np
from jaxpart import devices
from jaxpart.io.checkpoints import Checkpointer
from jaxpart.io.files import path_of

folder, address, index = sys.argv[1:]
devices.start(address, 2, int(index))
values = np.arange(16, dtype=np.float32).reshape(8, 2)
state = devices.shard_whole(values), devices.replicate(values[:3])
fresh = jax.tree.map(lambda x: x * 0, state)
keeper = Checkpointer(path_of(folder))
assert keeper.restore(fresh) is None
for step in (1, 2):
    keeper.save(step, state, {"step": step})
keeper.wait()
devices.wait_for_main()
step, found, place = Checkpointer(path_of(folder)).restore(fresh)
assert (step, place) == (2, {"step": 2})
assert [x.sharding for x in found] == [x.sharding for x in state]
np.testing.assert_array_equal(devices.fetch(found[0]), values)
np.testing.assert_array_equal(devices.fetch(found[1]), values[:3])
devices.wait_for_main()
keeper.delete()
"""


@pytest.mark.slow
def test_a_checkpoint_of_two_machines_is_read_back(bucket):
    address = f"127.0.0.1:{free_port()}"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SHARED, str(bucket), address]
    started = [
        subprocess.Popen(
            [*command, index],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in "01"
    ]
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert not bucket.exists()


@pytest.mark.slow
@pytest.mark.parametrize("store", [google], ids=["gs"], indirect=True)
def test_two_machines_without_a_shared_disk_are_killed_and_go_on(bucket, tmp_path):
    def start(machine, *arguments):
        (tmp_path / machine).mkdir(exist_ok=True)
        environment = os.environ | {
            "XDG_CACHE_HOME": str(tmp_path / machine / "cache"),
            "JAX_NUM_CPU_DEVICES": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        options = [f"--config.{name}={value}" for name, value in OPTIONS.items()]
        command = [sys.executable, "-m", "jaxpart.main", "--config=configs/ibot_part.py"]
        return subprocess.Popen(
            [*command, *options, *arguments],
            cwd=tmp_path / machine,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def together():
        port = free_port()
        return [
            start(
                f"machine{i}",
                f"--workdir={bucket}/run",
                f"--config.features.folder={bucket}/features",
                f"--coordinator=127.0.0.1:{port}",
                "--num-processes=2",
                f"--process-id={i}",
            )
            for i in (0, 1)
        ]

    def values(results):
        return {row.key: row.value for row in read_rows(results, "results.json")}

    killed = together()
    until = time.monotonic() + 120
    while not (bucket / "run" / "metrics.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.05)
    for process in killed:
        process.kill()
    for process in killed:
        process.communicate()
    assert not (bucket / "run" / "results.json").exists()

    processes = together()
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "(patch eval): 0 images encoded" in outputs[0]  # they were kept
    alone = part_config("ibot", "", projector=True)
    alone.update_from_flattened_dict(OPTIONS)
    expected = values(measure(alone, tmp_path / "alone", Progress(shown=False)))
    found = values(json.loads((bucket / "run" / "results.json").read_text()))
    assert found == pytest.approx(expected, abs=1e-5)
    for machine in ("machine0", "machine1"):
        assert os.listdir(tmp_path / machine) == ["cache"]


def test_a_name_that_is_a_pattern_is_refused():
    for name in ("a[1]", "a*", "a?", "a#1"):
        with pytest.raises(JaxpartError, match="which are wildcards in a bucket"):
            path_of(f"gs://bucket/runs/{name}")
