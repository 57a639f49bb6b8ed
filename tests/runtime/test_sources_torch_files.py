"""Files of torch.export and TorchScript become float graphs; whatever could run code while it is read is refused."""

import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lowbit.core.errors import BadInput
from lowbit.data.preprocess import to_input
from lowbit.sources.find import find
from tests.runtime.sourcing import checked, load, request

SHAPE = (3, 16, 16)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Net(nn.Module):
    """Takes any number of images."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(6, 5)

    def features(self, x: Tensor) -> Tensor:
        y: Tensor = torch.relu(self.norm(self.first(x))).mean((2, 3))
        return y

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.drop(self.features(x).view(x.size(0), -1)))
        return y


class One(Net):
    """Has its batch of one built in."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.features(x).view(1, 6))
        return y


class Two(Net):
    """Gives two things."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        y = super().forward(x)
        return y, y


def made(kind: type[Net] = Net) -> Net:
    torch.manual_seed(0)
    net = kind().eval()
    net.norm.running_mean = torch.linspace(-0.2, 0.2, 6)
    return net


def images(count: int) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(count, *SHAPE)


def save_program(path: Path, net: nn.Module, *, batch: int | None, half: bool = False) -> Path:
    """Exported with that batch size, or with a free one."""
    example = images(batch or 2)
    shapes = None if batch else ({0: torch.export.Dim("batch", min=1)},)
    if half:
        net, example = net.half(), example.half()
    torch.export.save(torch.export.export(net, (example,), dynamic_shapes=shapes), path)
    return path


def scores_of(net: nn.Module, path: Path, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """The float graph's scores, and those of the module in memory."""
    asked = request(str(path), out, SHAPE)
    model, scores = checked(asked)
    assert (model.name, model.outputs, model.input_shape) == (path.stem, 5, SHAPE)
    given = torch.from_numpy(to_input(asked.calibration.images[:16], asked.preprocess))
    with torch.inference_mode():
        return scores, torch.cat([net(each[None]) for each in given]).numpy()


# --- torch.export -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "batch"), [(Net, None), (Net, 1), (Net, 4), (One, 1)])
def test_an_exported_program(tmp_path: Path, kind: type[Net], batch: int | None) -> None:
    net = made(kind)
    path = save_program(tmp_path / "m.pt2", net, batch=batch)
    ours, theirs = scores_of(net, path, tmp_path / "out")
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_program_in_half_precision(tmp_path: Path) -> None:
    path = save_program(tmp_path / "m.pt2", made(), batch=None, half=True)
    model = load(request(str(path), tmp_path / "out", SHAPE)).model
    assert any("computes in float16" in note for note in model.notes)


def test_a_program_with_two_outputs_is_refused(tmp_path: Path) -> None:
    path = save_program(tmp_path / "m.pt2", made(Two), batch=None)
    with pytest.raises(BadInput, match=r"has 2 outputs .*expected one"):
        load(request(str(path), tmp_path / "out", SHAPE))


def rewritten(path: Path, change: Callable[[str, bytes], bytes | None], more: dict[str, bytes] | None = None) -> Path:
    """A copy of an archive with changed entries; None leaves one out."""
    out = path.with_name(f"changed-{path.name}")
    root = ""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            root, _, inside = name.partition("/")
            content = change(inside, old.read(name))
            if content is not None:
                new.writestr(name, content)
        for inside, content in (more or {}).items():
            new.writestr(f"{root}/{inside}", content)
    return out


class Malicious:
    """Pickled, it asks whoever reads it to create a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.trace,)  # type: ignore[return-value]


def pickled(trace: Path, folder: Path) -> bytes:
    torch.save((Malicious(trace),), folder / "pickle")
    return (folder / "pickle").read_bytes()


def test_example_inputs_that_bring_code_are_refused_and_not_run(tmp_path: Path) -> None:
    """`torch.export.load` itself falls back to unpickling them without limits."""
    path, trace = save_program(tmp_path / "m.pt2", made(), batch=None), tmp_path / "trace"
    code = pickled(trace, tmp_path)
    changed = rewritten(path, lambda name, old: code if name.startswith("data/sample_inputs/") else old)
    logging.disable(logging.CRITICAL)  # torch's own words to it are a format string that lacks arguments
    try:
        torch.export.load(changed)
    finally:
        logging.disable(logging.NOTSET)
    assert trace.exists(), "read carelessly, it runs"
    trace.unlink()
    with pytest.raises(BadInput, match="pickled objects that are no tensors"):
        load(request(str(changed), tmp_path / "out", SHAPE))
    assert not trace.exists()


def test_weights_that_bring_code_are_refused_and_not_run(tmp_path: Path) -> None:
    path, trace = save_program(tmp_path / "m.pt2", made(), batch=None), tmp_path / "trace"
    code = pickled(trace, tmp_path)

    def change(name: str, old: bytes) -> bytes:
        if name.endswith("weights_config.json"):
            config = json.loads(old)
            config["config"]["last.bias"]["use_pickle"] = True
            return json.dumps(config).encode()
        return old

    weight = json.loads(read(path, "data/weights/model_weights_config.json"))["config"]["last.bias"]["path_name"]
    changed = rewritten(path, lambda name, old: code if name == f"data/weights/{weight}" else change(name, old))
    with pytest.raises(BadInput, match="pickled objects that are no tensors"):
        load(request(str(changed), tmp_path / "out", SHAPE))
    assert not trace.exists()


def read(path: Path, inside: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(f"{path.stem}/{inside}")


@pytest.mark.parametrize(
    ("inside", "said"),
    [("data/aotinductor/model/x.so", "compiled code"), ("data/constants/opaque_obj_0", "a pickled object")],
)
def test_an_archive_with_more_than_data_is_refused(tmp_path: Path, inside: str, said: str) -> None:
    path = save_program(tmp_path / "m.pt2", made(), batch=None)
    changed = rewritten(path, lambda _, old: old, {inside: b"\x80\x04."})
    with pytest.raises(BadInput, match=said):
        load(request(str(changed), tmp_path / "out", SHAPE))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"torch.ops.aten.relu.default"', '"torch.hub.load"', "calls 'torch.hub.load'"),
        ('"expr_str":"', '"expr_str":"exec(chr(49))+', 'a size is "exec'),
    ],
)
def test_a_graph_that_is_more_than_operators_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = save_program(tmp_path / "m.pt2", made(), batch=None)
    text = json.dumps(json.loads(read(path, "models/model.json")), separators=(",", ":"))
    assert old in text
    changed = rewritten(
        path, lambda name, content: text.replace(old, new).encode() if name == "models/model.json" else content
    )
    with pytest.raises(BadInput, match=said.replace("(", r"\(")):
        load(request(str(changed), tmp_path / "out", SHAPE))


def test_a_program_of_another_format_is_told_torchs_words(tmp_path: Path) -> None:
    path = save_program(tmp_path / "m.pt2", made(), batch=None)
    changed = rewritten(path, lambda name, old: b"99" if name == "archive_version" else old)
    with pytest.raises(BadInput, match=r"torch .* cannot read it as an exported program: ValueError.*99"):
        load(request(str(changed), tmp_path / "out", SHAPE))


@pytest.mark.parametrize("content", [b"", b"not a program", b"PK\x03\x04 cut short"])
def test_files_that_are_no_programs(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"m\.pt2: (was cut short|is no file of torch\.export\.save)"):
        find(str(path)).fingerprint(str(path), None)


def test_a_program_that_was_cut_short(tmp_path: Path) -> None:
    path = save_program(tmp_path / "m.pt2", made(), batch=None)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInput, match="was cut short"):
        find(str(path)).fingerprint(str(path), None)


# --- TorchScript ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".pt", ".pth", ".torchscript"])
def test_a_scripted_network(tmp_path: Path, ending: str) -> None:
    net, path = made(), tmp_path / f"m{ending}"
    torch.jit.save(torch.jit.script(net.train()), path)  # as training left it
    ours, theirs = scores_of(net.eval(), path, tmp_path / "out")
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(("kind", "count"), [(Net, 2), (Net, 1), (One, 1)])
def test_a_traced_network(tmp_path: Path, kind: type[Net], count: int) -> None:
    net, path = made(kind), tmp_path / "m.pt"
    torch.jit.save(torch.jit.trace(net, images(count)), path)  # type: ignore[no-untyped-call]
    ours, theirs = scores_of(net, path, tmp_path / "out")
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_torchscript_that_is_no_classifier(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(made(Two), images(2)), tmp_path / "m.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(BadInput, match="returns tuple, expected one tensor"):
        load(request(str(tmp_path / "m.pt"), tmp_path / "out", SHAPE))


def test_a_torchscript_file_that_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.jit.save(torch.jit.script(made()), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BadInput, match=r"m\.pt: was cut short"):
        find(str(path)).fingerprint(str(path), None)


# --- told apart by what lies in them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True])
def test_weights_alone_are_no_model(tmp_path: Path, old: bool) -> None:
    path = tmp_path / "m.pt"
    torch.save(made().state_dict(), path, _use_new_zipfile_serialization=not old)
    with pytest.raises(BadInput, match="holds weights without the network they belong to"):
        find(str(path))


@pytest.mark.parametrize("old", [False, True])
def test_a_pickled_module_is_refused(tmp_path: Path, old: bool) -> None:
    path = tmp_path / "m.pth"
    torch.save(made(), path, _use_new_zipfile_serialization=not old)
    with pytest.raises(BadInput, match=r"is a pickle of .*test_sources_torch_files\.Net.*file\.py:name"):
        find(str(path))


def test_a_file_without_checksums_is_no_shorter(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(made().state_dict(), tmp_path / "m.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    with pytest.raises(BadInput, match="holds weights without the network they belong to"):
        find(str(tmp_path / "m.pt"))


def test_a_file_under_the_other_ending_is_told_its_own(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(made()), tmp_path / "m.pt2")
    with pytest.raises(BadInput, match=r"is a TorchScript file.*ending \.pt"):
        find("m.pt2").fingerprint(str(tmp_path / "m.pt2"), None)
    save_program(tmp_path / "n.pt2", made(), batch=1).rename(tmp_path / "n.pt")
    with pytest.raises(BadInput, match=r"is an exported program.*ending \.pt2"):
        find(str(tmp_path / "n.pt"))


@pytest.mark.parametrize("name", ["m.pt", "m.pt2"])
def test_a_file_that_is_not_there(name: str) -> None:
    with pytest.raises(BadInput, match="no such file"):
        find(name).fingerprint(name, None)
