"""Work directories as `jaxpart.main` leaves them, without running it."""

import json

import numpy as np

from jaxpart.config import part_config
from jaxpart.runs.items import items_npz
from jaxpart.runs.rows import VERSION, Key


def made_run(path, method="ibot", *, rows, variant="paper", trained=True, width=768, **encoder):
    """Writes a finished run; returns its folder."""
    path.mkdir()
    config = json.loads(part_config(method, variant, projector=True).to_json_best_effort())
    if variant == "paper":
        config["encoder"]["checkpoint"] = "checkpoints/there"
    about = {"name": method, "trained": trained, "digest": "", "width": width, "depth": 12}
    about |= {"patch_size": 16, "weights": "released, as you stated"}
    results = {"version": VERSION, "encoder": about | encoder, "tasks": config["tasks"]}
    results["rules"] = {}
    results["rows"] = [row.fields() for row in rows]
    (path / "config.json").write_text(json.dumps(config))
    (path / "results.json").write_text(json.dumps(results))
    lines = [{"name": "loss", "step": step, "value": 1 / (step + 1)} for step in range(3)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (path / "metrics.jsonl").write_text(text + '{"name": "loss", "st')
    key = Key("cub_parts", "classification", "accuracy_by_epoch", "linear", "cls_token")
    content = items_npz({}, {key: np.linspace(0.5, 0.9, 5)[None, None]})
    (path / "classification_cub_parts.npz").write_bytes(content)
    return path
