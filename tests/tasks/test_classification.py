"""Classification end to end: real images against PyTorch, embedded ones, comparison of runs, bad input."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
from carried_out import NOTHING, QUIET, carried_out
from flax import nnx

from convert.pipeline import convert
from jaxpart import devices
from jaxpart.comparison import compare_runs
from jaxpart.config import object_config, part_config
from jaxpart.data.parts import part_patches
from jaxpart.data.sets import classification_sets, find_set
from jaxpart.data.views import patch_view
from jaxpart.encoders.loading import load_encoder, random_encoder
from jaxpart.encoders.projectors import ProjectorConfig
from jaxpart.encoders.small import small_config
from jaxpart.errors import JaxpartError
from jaxpart.features import extract as features
from jaxpart.probes.attentive import AttentiveHead
from jaxpart.probes.items import shuffled
from jaxpart.probes.linear import LinearHead
from jaxpart.probes.trained import load_head
from jaxpart.runs.rows import Key, Row, by_key, find_row
from jaxpart.runs.workdir import WorkDir
from jaxpart.tasks import retrieval
from jaxpart.tasks.classification import objects as object_classification
from jaxpart.tasks.classification import parts as classification
from jaxpart.tasks.plans import carry_out


def small(method="ibot"):
    config = dataclasses.replace(
        small_config(method), image_size=(32, 32), patch_size=8, width=16, depth=2, mlp_width=16
    )
    return devices.replicate(random_encoder(method, config))


def settings(folder, config):
    config.features.folder = str(folder / "cache")
    for name in ("classification", "object_classification"):
        if name in config:
            for head in ("linear", "attentive"):
                config[name][head].epochs = 2
                config[name][head].batch_size = 16
    return config


def probed(metric, head="", representation="", group=""):
    """The key of a result of part classification of critters."""
    return Key("critters", "classification", metric, head, representation, group)


def run(task, encoder, config, folder):
    workdir = WorkDir(folder, json.loads(config.to_json_best_effort()))
    rows = carried_out(task, encoder, config, workdir)
    workdir.finish({"rows": [row.fields() for row in rows]})
    return rows


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedded")
    config = settings(folder, part_config("ibot", "", projector=True))
    config.data.num_images = 16
    config.seeds = 2
    config.classification.linear.rates = (0.1, 1.0)
    config.classification.linear.representations = ("cls_token", "embedding")
    rows = run(classification, small(), config, folder / "run")
    return folder, config, rows


@pytest.mark.slow
def test_every_number_is_there(embedded):
    folder, _, rows = embedded
    found = by_key(rows)
    for reading in ("best", "last", "chosen"):
        for head in (("linear", "cls_token"), ("linear", "embedding"), ("attentive", "tokens")):
            row = found[probed(reading, *head)]
            assert 0 <= row.low <= row.value <= row.high <= 1
            assert row.sd is not None
    assert found[probed("chosen_rate", "linear", "cls_token", "seed 1")].value in (0.1, 1.0)
    assert probed("last", "linear", "embedding", "rate 1") in found
    assert {path.name for path in (folder / "run").iterdir()} == {
        "config.json",
        "identity.json",
        "versions.json",
        "metrics.jsonl",
        "results.json",
        "classification_critters.npz",
        "heads",
    }
    arrays = np.load(folder / "run" / "classification_critters.npz")
    assert arrays["linear/cls_token/chosen"].shape == (2, found[probed("test")].value)
    right = (arrays["knn/embedding/chosen"] == arrays["labels"]).mean()
    assert right == found[probed("chosen", "knn", "embedding")].value
    assert arrays["attentive/tokens/accuracy_by_epoch"].shape == (2, 1, 2)
    table = classification.section(rows)
    assert len(table.rows) == 2 + 1 + 2 * 2 + 4
    frequent = np.bincount(arrays["labels"]).max() / len(arrays["labels"])
    assert 0 < found[probed("chosen", "baseline", "majority")].value <= frequent


def test_heads_that_no_baseline_is_below_are_told():
    rows = [
        Row("cub", "classification", "chosen", value, head, name)
        for head, name, value in (
            ("linear", "cls_token", 0.5),
            ("attentive", "tokens", 0.7),
            ("baseline", "majority", 0.2),
            ("baseline", "pixels12_grey", 0.6),
        )
    ]
    titles, notes = zip(
        *((row[0], row[-1]) for row in classification.section(rows).rows), strict=True
    )
    assert titles[2:] == ("cub, most frequent part", "cub, 12 × 12 pixels, grey")
    assert ["°" in note for note in notes] == [True, False, False, False]


@pytest.mark.slow
def test_the_heads_behind_the_results_can_be_loaded(embedded):
    folder, config, _ = embedded
    source, selection = classification_sets("critters", config.data)[1:]
    view = patch_view(
        source, part_patches(source, selection), size=32, transform="eval", on_error="raise"
    )
    names = ("cls_token", "embedding", "tokens")
    seen = features.extract(small(), view, names, config.features, QUIET, batch_size=64)
    arrays = np.load(folder / "run" / "classification_critters.npz")
    file = folder / "run" / "heads" / "classification_critters.npz"
    for place in ("linear/cls_token", "linear/embedding", "attentive/tokens"):
        whole = seen.features[place.split("/")[1]].whole()
        for reading, seed in itertools.product(("best", "last", "chosen"), (0, 1)):
            head = load_head(file, f"{place}/{reading}", seed=seed)
            found = np.asarray(head(whole, statistics="running")).argmax(1)
            assert (found == arrays[f"{place}/{reading}"][seed]).mean() > 0.97  # ties of logits
    for name, seed, sentence in (
        ("linear/x/best", 0, "no head 'linear/x/best'; it has attentive/tokens/best, "),
        ("linear/cls_token/best", 2, "no seed number 2"),
    ):
        with pytest.raises(JaxpartError, match=sentence):
            load_head(file, name, seed=seed)
    with pytest.raises(JaxpartError, match="cannot be read"):
        load_head(folder / "none.npz", "linear/cls_token/best")


@pytest.mark.slow
def test_every_view_is_encoded_once_whatever_the_order_of_tasks(tmp_path, monkeypatch):
    config = settings(tmp_path, part_config("ibot", "", projector=True))
    config.data.num_images, config.features.cache = 24, "off"
    config.classification.heads, config.classification.references = (), ("knn",)
    asked, encode = [], features._encode

    def counted(encoder, view, numbers, names, *others):
        asked.append((view.kind, set(names)))
        return encode(encoder, view, numbers, names, *others)

    monkeypatch.setattr(features, "_encode", counted)
    encoder, found = small(), []
    for order in ((retrieval, classification), (classification, retrieval)):
        plans = [plan for task in order for plan in task.plans(encoder, config, QUIET)]
        found.append(by_key(carry_out(plans, config.features, NOTHING, QUIET)))
        tested = {*config.retrieval.representations, "cls_token", "pixels12"}
        assert sorted(asked, key=lambda one: one[0]) == [
            ("patch eval", tested),
            ("patch train", {"cls_token", "pixels12"}),
        ]
        asked.clear()
    assert found[0] == found[1]


def test_projections_are_whole_where_their_channels_count():
    """Narrowed ones have the same inner products, and other channels."""
    config = small_config("ibot")
    config = dataclasses.replace(
        config, image_size=(32, 32), patch_size=8, width=16, depth=2, mlp_width=16
    )
    wide = dataclasses.replace(config.projector, hidden=(16,), bottleneck=8, out=64, patch_out=0)
    encoder = random_encoder("ibot", dataclasses.replace(config, projector=wide))

    def channels(representation="projection", **changes):
        settings = part_config("ibot", "", projector=True)
        settings.data.num_images = 16
        settings.classification.linear.representations = (representation,)
        settings.classification.references = changes.pop("references", ("knn",))
        settings.classification.linear.update(changes)
        (plan,) = classification.plans(encoder, settings, QUIET)
        return {need.encoder.config.projector.out for need in plan.needs.values()}

    assert channels() == {8}
    assert channels(references=("knn", "logistic")) == {64}
    assert channels(batch_norm=True) == {64}
    assert channels(lars=True) == {64}
    assert channels("cls_token", references=("logistic",)) == {8}  # shares retrieval's pass


@pytest.mark.slow
def test_mae_permuted_as_published_and_not_mixed(tmp_path):
    """Training, test and retrieval's patches are permuted, and features in order are others."""
    config = settings(tmp_path, part_config("mae", "", projector=False))
    config.data.num_images, config.tasks = 8, ("retrieval", "classification")
    config.classification.heads, config.classification.references = (), ("knn",)
    encoder, found = small("mae"), {}
    for order in ("kept", "permuted", "kept"):
        config.encoder.patch_order = order
        rows = run(retrieval, encoder, config, tmp_path / f"retrieval-{len(found)}-{order}")
        found.setdefault(order, rows)
        assert found[order] == rows
        run(classification, encoder, config, tmp_path / f"classification-{len(found)}-{order}")
    kept, permuted = (
        find_row(rows, "critters", "retrieval", "AP", representation="embedding")
        for rows in found.values()
    )
    assert kept.value != permuted.value
    kept = {path.parent.name for path in (tmp_path / "cache").rglob("*.safetensors")}
    # embedding and cls token as tested, cls token as trained on; pixels of both
    assert len(kept) == 2 * 3 + 2


@pytest.mark.slow
def test_two_encoders_are_compared_item_by_item(embedded):
    folder, config, rows = embedded
    config.classification.heads = ("linear",)
    config.classification.linear.rates = (0.001,)
    other = run(classification, small(), config, folder / "other")
    found = compare_runs(folder / "run", folder / "other")
    key = probed("last", "linear", "embedding")
    pair = [find_row(results, *key).value for results in (rows, other)]
    assert found[key].value == pytest.approx(pair[0] - pair[1])
    assert found[probed("chosen", "knn", "cls_token")].p == 1

    path = folder / "other" / "classification_critters.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(JaxpartError, match="is damaged"):
        compare_runs(folder / "run", folder / "other")
    with np.load(folder / "run" / path.name) as arrays:
        np.savez(path, **{**arrays, "ids": arrays["ids"][::-1]})
    with pytest.raises(JaxpartError, match="their ids differ"):
        compare_runs(folder / "run", folder / "other")
    with pytest.raises(JaxpartError, match="no per-item results"):
        compare_runs(folder / "run", folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_real_images_train_as_in_pytorch(kind, golden, samples, tmp_path):
    pytest.importorskip("torch")
    from tests.probes import torch_probes

    convert("ibot", golden / "encoders/ibot_full/checkpoint.pth", tmp_path / "e", num_heads=3)
    encoder = devices.replicate(load_encoder(tmp_path / "e"))
    config = settings(tmp_path, part_config("ibot", "paper", projector=True))
    config.data.root = str(samples)
    config.tasks = ("classification",)
    options = config.classification
    options.patch_pixels, options.selection, options.references = 64, False, ()
    options.heads = (kind,)
    options[kind].epochs, options[kind].batch_size = 6, 64
    rows = run(classification, encoder, config, tmp_path / "run")
    (name,) = options[kind].representations
    for data in config.data.sets:
        *sources, selection = classification_sets(data, config.data)
        sides = []
        for source, view in zip(sources, ("train", "eval"), strict=True):
            patches = part_patches(source, selection)
            found = features.extract(
                encoder,
                patch_view(source, patches, size=64, transform=view),
                [name],
                config.features,
                QUIET,
                batch_size=64,
            )
            assert found.encoded == 0
            labels = [list(selection.parts).index(patch.part) for patch in patches]
            sides.append((found.features[name].whole(), np.array(labels)))
        width, classes = sides[0][0].shape[-1], len(selection.parts)
        rngs = nnx.Rngs(config.seed)
        if kind == "linear":
            ours = LinearHead(width, classes, rngs=rngs)
            module = torch_probes.torch.nn.Linear(width, classes)
            names = {"kernel": "weight", "bias": "bias"}
        else:
            ours = AttentiveHead(width, classes, num_heads=12, rngs=rngs)
            module, names = torch_probes.TorchAttentive(width, classes, 12), torch_probes.NAMES
        state = nnx.to_flat_state(nnx.state(ours))
        head = {".".join(map(str, path)): leaf[...] for path, leaf in state}
        predictions = torch_probes.train(
            torch_probes.copied(module, head, names),
            *sides[0],
            sides[1][0],
            rate_at=torch_probes.part_classification(options[kind].rates[0] * 64 / 256, 6),
            epochs=6,
            batch=64,
            order=lambda epoch, count: shuffled(config.seed, epoch, count),
        )
        top1 = (predictions == sides[1][1]).mean(axis=1)
        best, last = (
            find_row(rows, find_set(data)[0], "classification", reading, kind, name).value
            for reading in ("best", "last")
        )
        assert (best, last) == (top1.max(), top1[-1])


def objects(folder, method, **changes):
    config = settings(folder, object_config("", ()))
    config.data.num_images = 48
    config.object_classification.update(changes)
    config.method = method
    return config


@pytest.mark.slow
def test_objects_on_random_views(tmp_path):
    config = objects(tmp_path, "ibot", heads=("linear",), references=("knn",))
    config.object_classification.linear.epochs = 1
    rows = run(object_classification, small(), config, tmp_path / "run")
    for reading, head in (("best", "linear"), ("chosen", "linear"), ("chosen", "knn")):
        row = find_row(rows, "critters", "object_classification", reading, head, "cls_token")
        assert 0 <= row.value <= 1
    assert len(object_classification.section(rows).rows) == 2


@pytest.mark.slow
def test_fixed_views_and_the_encoders_own_classifier(tmp_path):
    config = objects(tmp_path, "deit", views="eval", heads=("linear",), own_classifier=True)
    config.object_classification.update(references=(), selection=False)
    rows = run(object_classification, small("deit"), config, tmp_path / "run")
    arrays = np.load(tmp_path / "run" / "object_classification_critters.npz")
    right = (arrays["own/classifier/chosen"] == arrays["labels"]).mean()
    own = find_row(rows, "critters", "object_classification", "chosen", "own", "classifier")
    assert own.value == right


def test_bad_input_gets_one_sentence(tmp_path):
    config = settings(tmp_path, part_config("ibot", "", projector=True))
    config.data.num_images = 8
    task, encoder = config.classification, small()

    def refused(sentence, task, encoder, config):
        with pytest.raises(JaxpartError, match=sentence):
            carried_out(task, encoder, config)

    task.heads, task.attentive.num_heads = ("attentive",), 5
    refused("do not split into 5", classification, encoder, config)
    own = objects(tmp_path, "ibot", own_classifier=True)
    refused("has no classifier of its own", object_classification, encoder, own)
    shape = dataclasses.replace(
        small_config("deit"), projector=ProjectorConfig("classifier", out=7)
    )
    deit = random_encoder("deit", shape)
    refused("has 7 classes, but critters has 24", object_classification, deit, own)
