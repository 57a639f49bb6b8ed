"""A classifier of Hugging Face's on the command line: its own preprocessing, its names of classes, the network."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lowbit.sources.torch_operators import declare_torchvision_operators
from lowbit.study.about_model import fetch, own_preprocess
from tests.e2e.command import lowbit, rows

declare_torchvision_operators()
transformers = pytest.importorskip("transformers")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CLASSES = {0: "tabby, tabby cat", 1: "great horned owl", 2: "dog"}
QUICK = ("--toolchains", "onnxruntime", "--runtimes", "onnxruntime", "--recipes", "fp32", "--no-timing")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT in `net`, and pictures of two of its three classes in another order."""
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8,
        id2label=CLASSES,
    )  # fmt: skip
    net = transformers.ViTForImageClassification(config)
    torch.nn.init.normal_(net.classifier.weight, std=1.0)
    net.save_pretrained(folder / "net")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder / "net")
    rng = np.random.default_rng(0)
    for name in ("Great_Horned_Owl", "tabby"):
        (folder / "pictures" / name).mkdir(parents=True)
        for place in range(24):
            pixels = rng.integers(0, 256, (41, 57, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{place}.png")
    return folder


def test_a_folder_brings_its_preprocessing_and_its_names(project: Path) -> None:
    done = lowbit(
        "compare", "net", "--data", "pictures", "-o", "study", "--calibration-samples", "16", *QUICK, cwd=project
    )
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "preprocessor_config.json says: imagenet-tf,resize=32x32,crop=none" in said
    assert "matched with the model's outputs by name" in said
    assert all(row["status"] == "measured" for row in rows(project)), rows(project)
    report = json.loads((project / "study/study.json").read_text())["report"]
    assert report["model"]["class_names"] == list(CLASSES.values())
    assert report["preprocess"]["resize"] == [32, 32]


def test_the_network_is_used_only_when_it_is_allowed(project: Path) -> None:
    """There is no server at that address: with --download it is asked, without it is not."""
    home: dict[str, Any] = {"HF_HOME": str(project / "home"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    words = ("compare", "hf:somebody/net", "--data", "pictures", *QUICK)
    done = lowbit(*words, cwd=project, **home)
    assert done.returncode == 2
    assert "not in the cache" in done.stderr
    assert "give --download" in done.stderr
    done = lowbit(*words, "--download", cwd=project, **home)
    assert done.returncode == 2
    assert "hf:somebody/net: cannot be downloaded: " in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def hub(folder: Path) -> Iterator[str]:
    """A server on this machine that answers Hugging Face's client as the hub does, for one model, somebody/net."""

    class Answers(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            files = {file.name: file.read_bytes() for file in folder.iterdir()}
            name = path.removeprefix(f"/somebody/net/resolve/{COMMIT}/")
            if path == "/api/models/somebody/net/revision/main":
                content = json.dumps({"id": "somebody/net", "sha": COMMIT, "siblings": []}).encode()
            elif path == f"/api/models/somebody/net/tree/{COMMIT}":
                listed = [
                    {"type": "file", "path": each, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for each, data in files.items()
                ]
                content = json.dumps(listed).encode()
            elif name in files:
                content = files[name]
            else:
                self.send_error(404)
                return
            self.send_response(200)
            for header, value in (
                ("Content-Length", str(len(content))),
                ("ETag", f'"{hashlib.sha1(content).hexdigest()}"'),
                ("X-Repo-Commit", COMMIT),
                ("Content-Type", "application/json"),
            ):
                self.send_header(header, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_model_is_fetched_once_and_then_read_from_the_cache(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the children that the command starts for it."""
    home = project / "other-home"
    monkeypatch.setenv("HF_HOME", str(home))
    (project / "net/README.md").write_text("not fetched")
    with hub(project / "net") as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        fetch("hf:somebody/net", lambda _: None)
    assert {file.name for file in home.rglob(f"{COMMIT}/*")} == {
        "config.json", "preprocessor_config.json", "model.safetensors",
    }  # fmt: skip
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert own_preprocess("hf:somebody/net", lambda _: None).name == "imagenet-tf,resize=32x32,crop=none"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nowhere/", "names no model that lowbit can read"),
        ("weights", "expected the config.json beside them"),
        ("empty", "no weights; expected model.safetensors"),
        ("module.pt", "is a pickle of"),
        ("cut.pt", "was cut short"),
        ("cut.pt2", "was cut short"),
        ("timm:no_such_network_at_all", "timm has no network of the name"),
    ],
)
def test_what_cannot_be_used_is_one_line(project: Path, model: str, said: str) -> None:
    (project / "empty").mkdir(exist_ok=True)
    (project / "empty/config.json").write_text(json.dumps({"model_type": "vit"}))
    (project / "weights").mkdir(exist_ok=True)
    (project / "weights/model.safetensors").touch()
    torch.save(torch.nn.Linear(2, 2), project / "module.pt")
    for name in ("cut.pt", "cut.pt2"):
        (project / name).write_bytes(b"PK\x03\x04 and no more")
    words = ("--data", "pictures", "--preprocess", "unit,resize=32x32", "--calibration-samples", "16")
    done = lowbit("compare", model, *words, *QUICK, cwd=project)
    assert done.returncode == 2, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("lowbit: "))
    assert said in line


def test_download_of_what_needs_none(project: Path) -> None:
    done = lowbit("compare", "digits-cnn", "--data", "digits", "--download", cwd=project)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "--download: digits-cnn needs nothing from the network" in done.stderr
