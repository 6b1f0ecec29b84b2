"""Every field of a configuration has a rule, and what breaks one is told before anything is made."""

import runpy

import pytest

from jaxpart.config import locate, object_config, part_config, parts_config, study_config
from jaxpart.errors import JaxpartError
from jaxpart.evaluation import measure
from jaxpart.pretraining import recipe, recipe_checks
from jaxpart.pretraining.recipe_checks import check_recipe
from jaxpart.runs.config_checks import check_config
from jaxpart.runs.config_fields import field_of
from jaxpart.runs.config_rules import Rule, fields_of
from jaxpart.runs.paper import METHODS
from jaxpart.runs.progress import Progress
from jaxpart.study.evaluate import run_study

QUIET = Progress(shown=False)


def bundled():
    yield from (part_config("ibot", variant, projector=True) for variant in ("", "paper"))
    yield from (object_config(variant, tuple(METHODS)) for variant in ("", *METHODS))
    yield study_config("", tuple(METHODS))
    yield from (parts_config(variant) for variant in ("", "cub"))


def test_every_bundled_configuration_is_right_and_every_field_has_a_rule():
    for config in bundled():
        check_config(config)
        fields = {path: field_of(path) for path, _ in fields_of(config)}
        assert [p for p, field in fields.items() if not (field.rule and field.meaning)] == []
    for method in METHODS:
        for variant in ("", ":imagenet"):
            config = pretraining_config(method, variant, {"data.root": "somewhere"})
            check_recipe(config)
            fields = {path: recipe_checks.FIELDS[path] for path, _ in fields_of(config)}
            free = {path.rpartition(".")[2] for path, (rule, _) in fields.items() if rule is None}
            assert free <= {"blur", "solarize"}


def pretraining_config(method, variant, changes):
    path = locate(f"configs/pretrain/{method}.py")
    return changed(runpy.run_path(path)["get_config"](variant[1:] or None), changes)


def changed(config, changes):
    with config.ignore_type():
        config.update_from_flattened_dict(changes)
    return config


REFUSED = [
    ({"tasks": ()}, "config.tasks is empty; choose from retrieval, "),
    ({"tasks": ("retrieval", "retrieval")}, "config.tasks names 'retrieval' twice; name it once"),
    ({"tasks": ("object_classification",)}, "has no fields for the task 'object_classification'"),
    ({"tasks": "retrieval"}, r"config.tasks is 'retrieval'; give a tuple, as \('retrieval',\)"),
    ({"data.sets": ()}, "config.data.sets is empty"),
    ({"data.sets": ("cub", "cub_parts")}, r"names 'cub_parts' twice \(as 'cub' and 'cub_parts'\)"),
    ({"data.sets": ("birds",)}, "config.data.sets holds 'birds'; choose from critters, "),
    ({"data.num_images": 0}, "config.data.num_images is 0; give a whole number, at least 1"),
    ({"seed": -1}, "config.seed is -1; give a whole number, at least 0 and at most"),
    ({"seeds": 0}, "config.seeds is 0"),
    ({"seeds": True}, "config.seeds is True"),
    ({"report": 1}, "config.report is 1; choose between True and False"),
    ({"encoder.precision": "fp16"}, "config.encoder.precision is 'fp16'; choose from float32-"),
    ({"encoder.small": "big"}, "config.encoder.small is 'big'; choose from '', trained, random"),
    ({"features.cache": "on"}, "config.features.cache is 'on'; choose from off, ram, disk"),
    ({"retrieval.representations": ()}, "config.retrieval.representations is empty"),
    ({"retrieval.representations": ("embedding",) * 2}, "names 'embedding' twice"),
    (
        {"retrieval.on_error": "stop"},
        "config.retrieval.on_error is 'stop'; choose from raise, skip",
    ),
    ({"retrieval.batch_size": 0}, "config.retrieval.batch_size is 0"),
    ({"retrieval.patch_pixels": -1}, "config.retrieval.patch_pixels is -1"),
    ({"classification.heads": ("linear", "linear")}, "config.classification.heads names 'linear'"),
    ({"classification.heads": ("round",)}, "holds 'round'; choose from linear, attentive"),
    ({"classification.heads": (), "classification.references": ()}, "has nothing to test"),
    ({"classification.linear.rates": ()}, "config.classification.linear.rates is empty"),
    ({"classification.linear.rates": (0.1, 0.1)}, "rates names 0.1 twice"),
    ({"classification.linear.rates": (0.1, 0)}, "rates holds 0; give a finite number, above 0"),
    ({"classification.linear.rates": (-0.1,)}, "rates holds -0.1"),
    ({"classification.linear.rates": (float("inf"),)}, "rates holds inf"),
    ({"classification.linear.rates": (float("nan"),)}, "rates holds nan"),
    ({"classification.linear.rates": ("0.1",)}, "rates holds '0.1'; give a finite number, above 0"),
    ({"classification.linear.representations": ()}, "linear.representations is empty"),
    ({"classification.attentive.epochs": 0}, "config.classification.attentive.epochs is 0"),
    ({"classification.attentive.epochs": 2.5}, "attentive.epochs is 2.5; give a whole number"),
    ({"classification.attentive.warmup": 31}, "warmup is 31, longer than its 30 epochs"),
    ({"classification.linear.momentum": 1.0}, "momentum is 1.0; give a finite .* and below 1"),
    ({"classification.linear.weight_decay": -1.0}, "weight_decay is -1.0"),
    ({"classification.bn_test": "best"}, "bn_test is 'best'; choose from running, batch"),
    ({"tasks": ("layers",), "layers.tokens": ()}, "config.layers.tokens is empty"),
    ({"masked_parts.largest_share": 0.0}, "largest_share is 0.0; give .* above 0 and at most 1"),
]


@pytest.mark.parametrize(("changes", "sentence"), REFUSED)
def test_wrong_values_are_told(changes, sentence):
    config = changed(part_config("ibot", "", projector=True), changes)
    with pytest.raises(JaxpartError, match=sentence):
        check_config(config)


def test_a_configuration_of_ones_own_that_lacks_fields_is_told():
    config = part_config("ibot", "", projector=True)
    del config.features.folder
    with pytest.raises(
        JaxpartError, match=r"the configuration has no features\.folder; make yours"
    ):
        check_config(config)


def test_lists_that_no_task_reads_may_be_empty():
    config = part_config("ibot", "", projector=True)
    config.tasks, config.data.sets = ("segmentation",), ()
    config.retrieval.representations = config.classification.linear.rates = ()
    check_config(config)
    config = object_config("deit", tuple(METHODS))  # no heads, but the encoder's own classifier
    check_config(config)
    config.object_classification.own_classifier = False
    with pytest.raises(JaxpartError, match=r"config\.object_classification has nothing to test"):
        check_config(config)


def test_nothing_is_made_before_the_check(tmp_path):
    config = part_config("ibot", "", projector=True)
    config.classification.linear.rates = (float("inf"),)
    with pytest.raises(JaxpartError, match="rates holds inf"):
        measure(config, tmp_path / "run", QUIET)
    config = study_config("", ("ibot", "beit"))
    config.retrieval.representations = ("projection",)  # which BEiT does not have
    with pytest.raises(JaxpartError, match=r"config\.retrieval\.representations is empty"):
        run_study(config, tmp_path / "study", QUIET)
    config.encoders = ("ibot", "ibot")
    with pytest.raises(JaxpartError, match=r"config\.encoders names 'ibot' twice"):
        run_study(config, tmp_path / "study", QUIET)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"retrieval.patch_pixels": 50},
            "config.retrieval.patch_pixels is 50, and images of 50 × 50 pixels cannot be cut",
        ),
        ({"classification.patch_pixels": 50}, "config.classification.patch_pixels is 50"),
        ({"segmentation.readouts": ("block6",)}, "no readout 'block6'"),
        (
            {"segmentation.settings.critters_part.crop": 60},
            "critters_part.crop is 60, and images of 60 × 60 pixels cannot be cut",
        ),
        (
            {"tasks": ("layers",), "layers.tokens": ("dist_token",)},
            "has none of config.layers.tokens, dist_token; it has cls_token, embedding",
        ),
    ],
)
def test_what_the_encoder_cannot_take_is_told_before_anything_is_made(tmp_path, changes, sentence):
    few = {"data.num_images": 8, "segmentation.train_images": 8, "segmentation.test_images": 8}
    config = changed(part_config("ibot", "", projector=True), few | changes)
    with pytest.raises(JaxpartError, match=sentence):
        measure(config, tmp_path / "run", QUIET)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"epochs": 0}, "config.epochs is 0; give a whole number, at least 1"),
        ({"batch_size": -64}, "config.batch_size is -64"),
        (
            {"optimizer.lr": float("inf")},
            "config.optimizer.lr is inf; give a finite number, above 0",
        ),
        (
            {"optimizer.decay": "some"},
            "config.optimizer.decay is 'some'; choose from kernels, all",
        ),
        ({"drop_path": 1.0}, "config.drop_path is 1.0"),
        ({"warmup_epochs": 4}, "warmup_epochs is 4, but there are only 4 epochs"),
    ],
)
def test_recipes_of_pretraining_are_checked(changes, sentence):
    config = changed(recipe.critters_config("mae"), changes)
    with pytest.raises(JaxpartError, match=sentence):
        check_recipe(config)


@pytest.mark.parametrize(
    ("method", "changes", "sentence"),
    [
        ("ibot", {"objective.mask": "rand"}, "objective.mask is 'rand'; choose from block, random"),
        ("ibot", {"objective.mask_shares": (0.0, 0.3, 0.5)}, "give a deviation for each share"),
        ("ibot", {"objective.mask_shares": (), "objective.mask_deviations": ()}, "at least one"),
        ("ibot", {"objective.mask_deviations": (0.0, 2.0)}, "mask_deviations holds 2.0"),
        ("dino", {"objective.teacher_temperature": (0.04, 0.04)}, "give 3 values"),
        ("mae", {"views.view.flip": 5.0}, "views.view.flip is 5.0; give .* at most 1"),
        ("mae", {"views.view.jitter": (0.1, 0.2)}, "views.view.jitter is .*; give 4 values"),
        ("dino:imagenet", {"views.pair.blur": (1.0, 0.1, 0.5)}, "there are 2 such views"),
        ("dino:imagenet", {"views.pair.solarize": (0.0, 1.5)}, "views.pair.solarize holds 1.5"),
        ("mae:imagenet", {"encoder.num_heads": 0}, "config.encoder.num_heads is 0"),
        ("mae:imagenet", {"encoder.patch_size": 0}, "config.encoder.patch_size is 0"),
        ("mae:imagenet", {"encoder.width": -768}, "config.encoder.width is -768"),
        ("mae:imagenet", {"encoder.stem": "conf"}, "encoder.stem is 'conf'; choose from patch, c"),
        ("mae:imagenet", {"decoder.num_heads": 7}, "does not divide its width of 512"),
        ("mae:imagenet", {"decoder.out": 700}, "decoder.out is 700, .*; give 768"),
        ("beit", {"decoder.codebook": 100}, "decoder.codebook is 100, .*; give 768"),
    ],
)
def test_values_of_a_method_are_checked(method, changes, sentence):
    name, _, variant = method.partition(":")
    config = pretraining_config(name, f":{variant}", {"data.root": "there"} | changes)
    with pytest.raises(JaxpartError, match=sentence):
        check_recipe(config)


def test_a_chance_is_one_number_or_one_per_view():
    chances = {"views.pair.blur": 0.5, "views.pair.solarize": (0.5, 0.5)}
    config = pretraining_config("ibot", "", chances | {"objective.mask_deviations": (0.1, 0.1)})
    check_recipe(config)


def test_a_rule_without_choices_or_range_still_has_advice():
    assert Rule("text").fault(3) == "is 3; give a string"
    assert Rule("number").fault("x") == "is 'x'; give a finite number"


def test_prepared_sets_of_tfds_are_allowed_by_name():
    config = object_config("", tuple(METHODS))
    config.data.sets = ("tfds:food101", "critters")
    check_config(config)
    config.data.sets = ("tfds",)
    with pytest.raises(JaxpartError, match=r"holds 'tfds'; choose from critters, .*, tfds:NAME"):
        check_config(config)
