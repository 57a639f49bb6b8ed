"""Tensors that the engine keeps on disk come back as they were, in the layout that they had."""

from pathlib import Path

import numpy as np
import torch

from lowbit.quant.scratch import load_tensors, save_tensors

PICTURES = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)


def test_values_and_layouts_come_back(tmp_path: Path) -> None:
    given = {
        1: PICTURES, 2: PICTURES.contiguous(memory_format=torch.channels_last), 3: PICTURES.permute(0, 3, 1, 2),
        4: PICTURES[0, 0, 0], 5: 7, 6: (2, 3), 7: torch.empty(0, 3), 8: PICTURES.to(torch.int64), 9: PICTURES[:, :1],
    }  # fmt: skip
    save_tensors((given, {}), tmp_path / "chunk")
    found, empty = load_tensors(tmp_path / "chunk")
    assert empty == {}
    assert found.keys() == given.keys()
    for key, value in given.items():
        if isinstance(value, torch.Tensor):
            assert found[key].dtype == value.dtype
            np.testing.assert_array_equal(found[key].numpy(), value.numpy())
        else:
            assert found[key] == value
    assert found[2].is_contiguous(memory_format=torch.channels_last)
    found[1].add_(1)  # a later operator may work in place


def test_a_file_is_written_over_by_a_shorter_one(tmp_path: Path) -> None:
    path = tmp_path / "chunk"
    save_tensors(({1: PICTURES},), path)
    long = path.stat().st_size
    save_tensors(({1: PICTURES[:1]},), path)
    assert path.stat().st_size < long
    (found,) = load_tensors(path)
    np.testing.assert_array_equal(found[1].numpy(), PICTURES[:1].numpy())
