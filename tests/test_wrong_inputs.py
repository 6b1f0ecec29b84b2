"""What is asked wrongly is told in one sentence, with exit status 2, and nothing is left behind.

Each line of wrong_inputs.txt: a program, its arguments, and what it is told. An argument that begins with
a dot is a field of the configuration.
"""

import json
import pathlib
import shlex
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

HERE = pathlib.Path(__file__).resolve().parent
PART = [
    *("--config", "configs/ibot_part.py", "--config.data.num_images=12"),
    *("--config.segmentation.train_images=12", "--config.segmentation.test_images=12"),
]
PROGRAMS = {
    "run": ("main", PART),
    "retrieve": ("main", [*PART, "--config.tasks=('retrieval',)"]),
    "classify": ("main", [*PART, "--config.tasks=('classification',)"]),
    "segment": ("main", [*PART, "--config.tasks=('segmentation',)"]),
    "pretrain": ("pretraining", ["--config", "configs/pretrain/mae.py"]),
}
TABLE = (HERE / "wrong_inputs.txt").read_text(encoding="utf-8")


def cases():
    for line in TABLE.strip().splitlines():
        words, sentence = line.split(" => ")
        program, *arguments = shlex.split(words)
        program, before = PROGRAMS.get(program, (program, []))
        fields = [f"--config{word}" if word[:1] == "." and word[1:] else word for word in arguments]
        yield line, program, [*before, *fields], sentence


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What every line is answered, by the line: status, output, and the files that were left."""
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "file.txt").write_text("hello")
    (folder / "bad.py").write_text("def (:\n")
    (folder / "binary.py").write_bytes(b"\x00\xff\xfe\x80" * 20)
    (folder / "raises.py").write_text("raise ValueError('x')\n")
    (folder / "leaves.py").write_text("raise SystemExit('no')\n")
    (folder / "misspelt.py").write_text(
        "from configs.ibot_part import get_config as embedded\n"
        "def get_config():\n"
        "    config = embedded()\n"
        "    config.retreival.batch_size = 3\n"
        "    return config\n"
    )
    (folder / "noconfig.py").write_text("a = 1\n")
    (folder / "returns.py").write_text("def get_config(): return 3\n")
    (folder / "empty").mkdir()
    for name, results, config in (
        ("badrun", b'{"version": 2, "rows": 3}', b"[1, 2"),
        ("pickrun", b"\x80\x04K\x01.", b"\x80\x04K\x01."),
    ):
        (folder / name).mkdir()
        (folder / name / "results.json").write_bytes(results)
        (folder / name / "config.json").write_bytes(config)
    small = {"img_size": 64, "embed_dim": 192, "depth": 2, "num_heads": 3, "num_classes": 0}
    model = timm.create_model("vit_base_patch16_224", **small)
    torch.save(model.state_dict(), folder / "good.pth")
    orders = [[line, program, arguments] for line, program, arguments, _ in cases()]
    command = [sys.executable, str(HERE / "forked.py"), str(folder)]
    given = json.dumps(orders)
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_everything_wrong_is_told(answers):
    wrong = {}
    for line, program, _, sentence in cases():
        status, output, left = answers[line]
        *before, last = output.strip().splitlines() or [""]
        told = "error: " in last and not any("error: " in other for other in before)
        if program in ("main", "pretraining"):  # others print their usage before
            told = last.startswith("error: ") and not before
        if status != 2 or not told or sentence not in last or left:
            wrong[line] = status, output[-300:], left
    assert not wrong, "\n".join(f"{line}: {found}" for line, found in wrong.items())
    assert len(answers) >= 150
