"""What users come for, from a file of theirs to the end, by the commands that they type."""

import numpy as np
import pytest
from fork_server import ForkServer
from small_runs import SMALL

import jaxpart

pytestmark = pytest.mark.slow
timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")

NET = '''
import timm, torch


class Mine(timm.models.vision_transformer.VisionTransformer):
    """A ViT that squares what it pools: no converter knows it."""

    def forward(self, images):
        tokens = self.forward_features(images)
        patches = tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, 8, 8)
        return {"cls_token": tokens[:, 0], "tokens": patches, "squared": tokens[:, 1:].mean(1) ** 2}


model = Mine(img_size=64, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=0)
model.load_state_dict(torch.load("mine.pth", weights_only=True))
'''


@pytest.fixture(scope="module")
def fork_server(tmp_path_factory):
    server = ForkServer(tmp_path_factory.mktemp("fork_server"), "timm", killed=False)
    yield server
    server.close()


@pytest.fixture
def user(fork_server, tmp_path):
    """A user's folder, and a function that runs a command there and returns what it prints."""

    def run(*arguments):
        done = fork_server.run("jaxpart", arguments, tmp_path)
        assert done["status"] == 0, done["output"]
        assert "Traceback" not in done["output"]
        return done["output"]

    return tmp_path, run


def test_a_subclass_of_timms_vit_and_a_resnet_from_file_to_report(user):
    folder, run = user
    torch.manual_seed(0)
    vit = timm.models.vision_transformer.VisionTransformer(
        img_size=64, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=0
    )
    torch.save(vit.state_dict(), folder / "mine.pth")
    (folder / "net.py").write_text(NET)
    resnet = timm.create_model("resnet10t", num_classes=5)
    torch.save({"state_dict": {f"module.{k}": v for k, v in resnet.state_dict().items()}},
               folder / "resnet.pth")  # fmt: skip
    common = ["--config", "configs/ibot_part.py", *SMALL, "--config.encoder.image_size=64"]
    common += ["--config.classification.heads=('linear',)", "--config.classification.references=()"]
    mine = ["--config.encoder.callable=torch:net.py:model", "--config.encoder.pixels=imagenet"]
    names = "--config.retrieval.representations=('embedding','squared')"
    parts = "--config.tasks=('retrieval','classification')"
    told = run("run", *common, *mine, names, parts, "--config.encoder.version=1", "--workdir", "a")
    assert "critters, squared" in told
    theirs = ["--config.encoder.callable=timm:resnet10t", "--config.encoder.weights=resnet.pth"]
    pixels = "--config.tasks=('retrieval','segmentation')"
    told = run("run", *common, *theirs, pixels, "--workdir", "b")
    assert "skipping paper" in told
    run("compare", "a", "b")
    shown = ["--patches", "20", "--images", "1", "--run-functions"]
    told = run("report", "a", "b", "--out", "page", *shown)
    assert "version" not in told
    assert "--run-functions" not in told
    page = (folder / "page" / "index.html").read_text()
    assert "timm:resnet10t" in page
    assert "torch:net.py:model" in page


def test_port_verify_train_on_export_back_and_load_in_pytorch(user):
    import optax
    from flax import nnx

    from jaxpart.io.tensor_files import open_checkpoint

    folder, run = user
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}
    theirs = timm.models.vision_transformer.VisionTransformer(**sizes, num_classes=0).eval()
    torch.save(theirs.state_dict(), folder / "vit.pth")
    (folder / "own.py").write_text(
        "import timm, torch\n\n\ndef make(path):\n"
        f"    model = timm.models.vision_transformer.VisionTransformer(**{sizes}, num_classes=0)\n"
        "    model.load_state_dict(torch.load(path, weights_only=True))\n    return model\n"
    )
    told = ["--eps", "1e-6", "--activation", "gelu", "--positions", "bicubic"]
    run("convert", "vit", "vit.pth", "vit", "--layout", "timm", "--num-heads", "3", *told)
    run("verify", "encoder", "vit.pth", "vit", "--reference", "module:own:make")

    encoder = jaxpart.load_encoder(folder / "vit")
    model, images = encoder.model, np.random.default_rng(0).normal(size=(4, 32, 32, 3))
    images = images.astype(np.float32)
    graph, weights, rest = nnx.split(model, nnx.Param, ...)

    def loss(weights):
        return (nnx.merge(graph, weights, rest)(images)["embedding"] ** 2).mean()

    optimizer = optax.sgd(0.1)
    state, before = optimizer.init(weights), loss(weights)
    for _ in range(3):
        update, state = optimizer.update(nnx.grad(loss)(weights), state)
        weights = optax.apply_updates(weights, update)
    assert loss(weights) < before
    jaxpart.save_encoder(encoder, folder / "trained", model=nnx.merge(graph, weights, rest))
    run("export", "weights", "trained", "trained.safetensors", "--layout", "timm")
    arrays = open_checkpoint(folder / "trained.safetensors").contents
    theirs.load_state_dict({name: torch.tensor(np.array(array)) for name, array in arrays.items()})
    with torch.no_grad():
        expected = theirs.forward_features(torch.tensor(images.transpose(0, 3, 1, 2)))
    found = jaxpart.load_encoder(folder / "trained")(images)["tokens"]
    assert float(np.abs(np.asarray(found) - expected.numpy()).max()) <= 1e-4
