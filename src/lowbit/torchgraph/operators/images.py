"""Operators on images: sampling at positions, deformable convolution, Col2Im, pixels to channels and back, crops."""

import torch
from torch import fx
from torch.nn import functional

from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.padding import pad, window
from lowbit.torchgraph.values import ImportedOp, Value


def depth_to_space(b: Builder, op: ImportedOp) -> Value:
    """DepthToSpace: [N, C, H, W] → [N, C / b², H · b, W · b]; b² channels become a block of b × b pixels.

    In mode DCR, x's channel is counted as (row in the block, column in the block, channel of the result); in mode CRD
    as (channel of the result, row, column), which is torch's pixel_shuffle.
    """
    x, block = op.tensor(0), op.attribute("blocksize", 1)
    if op.attribute("mode", "DCR") == "CRD":
        return b.call(torch.pixel_shuffle, x, block)
    n, c, h, w = b.shape(x)
    x = b.call(torch.reshape, x, (n, block, block, c // block**2, h, w))
    x = b.call(torch.permute, x, (0, 3, 4, 1, 5, 2))
    return b.call(torch.reshape, x, (n, c // block**2, h * block, w * block))


def space_to_depth(b: Builder, op: ImportedOp) -> Value:
    """SpaceToDepth: [N, C, H, W] → [N, C · b², H / b, W / b]; a block of b × b pixels becomes b² channels.

    The result's channel is counted as (row in the block, column in the block, channel of x).
    """
    x, block = op.tensor(0), op.attribute("blocksize", 1)
    n, c, h, w = b.shape(x)
    x = b.call(torch.reshape, x, (n, c, h // block, block, w // block, block))
    x = b.call(torch.permute, x, (0, 3, 5, 1, 2, 4))
    return b.call(torch.reshape, x, (n, c * block**2, h // block, w // block))


def grid_sample(b: Builder, op: ImportedOp) -> Value:
    """GridSample: x, sampled at the positions in `grid`.

    Opset 20 renamed the modes; both names are understood. A grid of one image is used for all images.
    """
    x, grid = b.tensor(op.get(0)), b.tensor(op.get(1))
    mode = op.attribute("mode", "linear" if op.opset >= 20 else "bilinear")
    torch_mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    batch = b.shape(x)[0]
    if b.shape(grid)[0] != batch:
        grid = b.method("expand", grid, (batch, *[-1] * (b.rank(grid) - 1)))
    return b.call(
        functional.grid_sample,
        x,
        grid,
        mode=torch_mode,
        padding_mode=op.attribute("padding_mode", "zeros"),
        align_corners=bool(op.attribute("align_corners", 0)),
    )


def affine_grid(b: Builder, op: ImportedOp) -> Value:
    """AffineGrid (opset 20): theta [N, 2, 3] or [N, 3, 4] → the positions at which GridSample reads each pixel."""
    align = bool(op.attribute("align_corners", 0))
    return b.call(functional.affine_grid, b.tensor(op.get(0)), tuple(op.sizes(1)), align)


def col2im(b: Builder, op: ImportedOp) -> Value:
    """Col2Im (opset 18) for images with two axes: adds the columns of all blocks up to images.

    torch pads both ends of an axis equally; so images are made with their padding, and it is cut off afterwards.
    """
    x, image, block = op.tensor(0), op.ints(1, "image_shape") or [], op.ints(2, "block_shape") or []
    if len(image) != 2:
        raise op.unsupported(f"torch puts columns back into images of two axes, not {len(image)}")
    pads = op.attribute("pads", [0] * 4)
    dilations, strides = op.attribute("dilations", [1, 1]), op.attribute("strides", [1, 1])
    sizes = (image[0] + pads[0] + pads[2], image[1] + pads[1] + pads[3])
    y = b.call(functional.fold, x, sizes, tuple(block), tuple(dilations), 0, tuple(strides))
    return pad(b, y, [(-pads[0], -pads[2]), (-pads[1], -pads[3])]) if any(pads) else y


def deformable(b: Builder, op: ImportedOp) -> Value:
    """DeformConv (opset 19) for images with two axes: x, weight [O, C / group, h, w], offset, bias and mask."""
    x, weight = op.tensor(0), op.constant(1)
    kernel = weight.array.shape[2:]
    if len(kernel) != 2:
        raise op.unsupported(f"torch samples images of two axes, not {len(kernel)}")
    w = window(b, op, x, kernel)
    bias, mask = (None if op.get(i) is None else b.tensor(op.get(i)) for i in (3, 4))
    return b.call(
        deformed_convolution,
        pad(b, x, w.pads) if any(any(pair) for pair in w.pads) else x,
        b.tensor(weight),
        b.tensor(op.get(2)),
        bias,
        mask,
        w.strides,
        w.dilations,
        op.attribute("group", 1),
        op.attribute("offset_group", 1),
    )


def deformed_convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    offset: torch.Tensor,
    bias: torch.Tensor | None,
    mask: torch.Tensor | None,
    strides: tuple[int, int],
    dilations: tuple[int, int],
    groups: int,
    offset_groups: int,
) -> torch.Tensor:
    """A convolution that reads x at positions which `offset` moves, one for each kernel entry (Dai et al. 2017).

    Positions lie between pixels, and x is interpolated there.

    - x: [N, C, H, W], padded
    - weight: [O, C / groups, h, w]
    - offset: [N, offset_groups · h · w · 2, output height, output width], (rows, columns) in pixels
    - bias: [O]
    - mask: factors of what is read, [N, offset_groups · h · w, output height, output width]; None: 1
    """
    n, channels, height, width = x.shape
    taps_y, taps_x = weight.shape[2:]
    out_y, out_x = offset.shape[2:]
    offset = offset.reshape(n, offset_groups, taps_y * taps_x, 2, out_y, out_x)
    rows = (torch.arange(out_y, device=x.device) * strides[0]).reshape(-1, 1)
    columns = (torch.arange(out_x, device=x.device) * strides[1]).reshape(1, -1)
    parts = x.reshape(n * offset_groups, channels // offset_groups, height, width)
    taps = []
    for tap in range(taps_y * taps_x):
        y = rows + (tap // taps_x) * dilations[0] + offset[:, :, tap, 0]
        z = columns + (tap % taps_x) * dilations[1] + offset[:, :, tap, 1]
        grid = torch.stack([2 * z / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], -1)
        seen = functional.grid_sample(parts, grid.reshape(-1, out_y, out_x, 2), align_corners=True)
        seen = seen.reshape(n, offset_groups, channels // offset_groups, out_y, out_x)
        if mask is not None:
            seen = seen * mask.reshape(n, offset_groups, taps_y * taps_x, 1, out_y, out_x)[:, :, tap]
        taps.append(seen.reshape(n, channels, 1, out_y, out_x))
    stacked = torch.cat(taps, 2).reshape(n, channels * taps_y * taps_x, out_y, out_x)
    flat = weight.reshape(weight.shape[0], -1, 1, 1)
    return functional.conv2d(stacked, flat, bias, groups=groups)


def center_crop_pad(b: Builder, op: ImportedOp) -> Value:
    """CenterCropPad (opset 18): cuts longer axes to their centre, and puts zeros around shorter ones."""
    x, rank = op.tensor(0), b.rank(op.tensor(0))
    sizes = b.shape(x)
    pairs = [(0, 0)] * rank
    for axis, want in zip(op.attribute("axes", range(rank)), op.sizes(1), strict=True):
        size = sizes[axis % rank]
        if size is want:
            continue
        if isinstance(size, fx.Node) or isinstance(want, fx.Node):
            raise op.unsupported("it crops or pads the batch")
        more = want - size
        pairs[axis % rank] = (more // 2, more - more // 2) if more > 0 else (-(-more // 2), more + (-more // 2))
    return pad(b, x, pairs) if any(pair != (0, 0) for pair in pairs) else x


OPERATORS: dict[str, Handler] = {
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "GridSample": grid_sample,
    "AffineGrid": affine_grid,
    "Col2Im": col2im,
    "DeformConv": deformable,
    "CenterCropPad": center_crop_pad,
}
