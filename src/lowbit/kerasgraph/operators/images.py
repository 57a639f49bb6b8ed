"""Operators on images: sampling at positions, deformable convolution, Col2Im, pixels to channels and back, crops."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from lowbit.kerasgraph.builder import Builder, Handler
from lowbit.kerasgraph.values import ImportedOp, Tensor, Value, channels_last
from lowbit.kerasgraph.windows import around, padding, windows_of

_CUBIC = -0.75  # the coefficient of ONNX's cubic sampling


def depth_to_space(b: Builder, op: ImportedOp) -> Value:
    """DepthToSpace: [N, C, H, W] → [N, C / b², H · b, W · b]; b² channels become a block of b × b pixels.

    In mode DCR, x's channel is counted as (row in the block, column in the block, channel of the result), as TensorFlow
    does; in mode CRD as (channel of the result, row, column).
    """
    x, block = op.tensor(0), op.attribute("blocksize", 1)
    order = np.arange(x.shape[1])
    if op.attribute("mode", "DCR") == "CRD":
        order = order.reshape(-1, block * block).T.reshape(-1)
    moves = bool((order != np.arange(len(order))).any())

    def run(t: Any) -> Any:
        t = tf.gather(t, order.astype(np.int32), axis=3) if moves else t
        return tf.nn.depth_to_space(t, block)

    return Tensor(b.call(run, b.last(x)), channels_last(4), nonnegative=x.nonnegative)


def space_to_depth(b: Builder, op: ImportedOp) -> Value:
    """SpaceToDepth: [N, C, H, W] → [N, C · b², H / b, W / b]; a block of b × b pixels becomes b² channels.

    The result's channel is counted as (row in the block, column in the block, channel of x), as TensorFlow does.
    """
    x, block = op.tensor(0), op.attribute("blocksize", 1)
    y = b.call(lambda t: tf.nn.space_to_depth(t, block), b.last(x))
    return Tensor(y, channels_last(4), nonnegative=x.nonnegative)


def _pixels(t: Any, rows: Any, columns: Any) -> Any:
    """The pixels of images t [N, H, W, C] at whole positions [N, h, w]; zeros outside."""
    n, height, width, channels = (int(size) for size in t.shape)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    row = tf.cast(tf.minimum(tf.maximum(rows, 0.0), height - 1.0), tf.int32)
    column = tf.cast(tf.minimum(tf.maximum(columns, 0.0), width - 1.0), tf.int32)
    image = np.arange(n, dtype=np.int32).reshape(n, 1, 1) * (height * width)
    seen = tf.gather(tf.reshape(t, (n * height * width, channels)), row * width + column + image)
    return seen * tf.cast(inside, t.dtype)[..., None]


def _bilinear(t: Any, rows: Any, columns: Any) -> Any:
    """Images t [N, H, W, C] at positions [N, h, w] between pixels; zeros outside."""
    top, left = tf.floor(rows), tf.floor(columns)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    upper = _pixels(t, top, left) * (1.0 - right) + _pixels(t, top, left + 1.0) * right
    lower = _pixels(t, top + 1.0, left) * (1.0 - right) + _pixels(t, top + 1.0, left + 1.0) * right
    return upper * (1.0 - down) + lower * down


def _reflected(at: Any, low: float, high: float) -> Any:
    """Positions that leave [low, high] on one side come back in from it."""
    if high <= low:
        return tf.zeros_like(at)
    span = high - low
    offset = tf.abs(at - low)
    turns = tf.floor(offset / span)
    rest = offset - turns * span
    odd = turns - 2.0 * tf.floor(turns * 0.5)
    return low + tf.where(odd > 0.5, span - rest, rest)


def grid_sample(b: Builder, op: ImportedOp) -> Value:
    """GridSample: x [N, C, H, W], sampled at the positions in `grid` [N, h, w, 2], columns first, from −1 to 1.

    Opset 20 renamed the modes; both names are understood. A grid of one image is used for all images.
    """
    x, grid = op.tensor(0), op.given(1)
    if x.rank != 4:
        raise op.unsupported(f"it samples images of two axes, not {x.rank - 2}")
    mode = op.attribute("mode", "linear" if op.opset >= 20 else "bilinear")
    outside, align = op.attribute("padding_mode", "zeros"), bool(op.attribute("align_corners", 0))
    n, _, height, width = x.shape

    def place(at: Any, size: int) -> Any:
        return (at + 1.0) * ((size - 1) / 2) if align else (at + 1.0) * (size / 2) - 0.5

    def kept(at: Any, size: int) -> Any:
        """Positions moved into the image, as padding_mode says."""
        if outside == "reflection":
            at = _reflected(at, 0.0, size - 1.0) if align else _reflected(at, -0.5, size - 0.5)
        return at if outside == "zeros" else tf.minimum(tf.maximum(at, 0.0), size - 1.0)

    def run(t: Any, g: Any) -> Any:
        g = tf.broadcast_to(g, (n, *g.shape[1:]))
        columns, rows = place(g[..., 0], width), place(g[..., 1], height)
        if mode in ("cubic", "bicubic"):
            return _bicubic(t, rows, columns, lambda r, c: _pixels(t, kept(r, height), kept(c, width)))
        rows, columns = kept(rows, height), kept(columns, width)
        return _pixels(t, tf.round(rows), tf.round(columns)) if mode == "nearest" else _bilinear(t, rows, columns)

    return Tensor(b.call(run, b.last(x), b.plain(grid)), channels_last(4))


def _bicubic(t: Any, rows: Any, columns: Any, pixels: Any) -> Any:
    """Images at positions between pixels, from the 16 pixels around each."""
    top, left = tf.floor(rows), tf.floor(columns)
    total = tf.zeros((*rows.shape, t.shape[-1]), t.dtype)
    for i in range(-1, 3):
        share = _cubic(tf.abs(rows - top - i), near=i in (0, 1))
        for j in range(-1, 3):
            weight = share * _cubic(tf.abs(columns - left - j), near=j in (0, 1))
            total = total + weight[..., None] * pixels(top + i, left + j)
    return total


def _cubic(d: Any, *, near: bool) -> Any:
    """The cubic convolution kernel at the distance d, up to 1 where `near`, otherwise from 1 to 2."""
    if near:
        return ((_CUBIC + 2) * d - (_CUBIC + 3)) * d * d + 1
    return ((_CUBIC * d - 5 * _CUBIC) * d + 8 * _CUBIC) * d - 4 * _CUBIC


def affine_grid(b: Builder, op: ImportedOp) -> Value:
    """AffineGrid (opset 20): theta [N, 2, 3] or [N, 3, 4] → the positions at which GridSample reads each pixel."""
    sizes, align = [int(size) for size in op.constant(1)], bool(op.attribute("align_corners", 0))
    lines = [np.linspace(-1, 1, size) if align else (np.arange(size) + 0.5) * 2 / size - 1 for size in sizes[2:]]
    mesh = np.stack([*reversed(np.meshgrid(*lines, indexing="ij")), np.ones(sizes[2:])], -1).astype(np.float32)
    flat = mesh.reshape(-1, mesh.shape[-1])
    shape = (sizes[0], *sizes[2:], len(sizes) - 2)

    def run(theta: Any) -> Any:
        return tf.reshape(tf.matmul(tf.broadcast_to(flat, (sizes[0], *flat.shape)), theta, transpose_b=True), shape)

    return b.whole(run, op.given(0))


def col2im(b: Builder, op: ImportedOp) -> Value:
    """Col2Im (opset 18) for images with two axes: adds the columns of all blocks up to images.

    It is a transposed convolution whose weights are 0 and 1.
    """
    x, image, block = op.tensor(0), op.ints(1) or [], op.ints(2) or []
    if len(image) != 2:
        raise op.unsupported(f"it puts columns back into images of two axes, not {len(image)}")
    pads = op.attribute("pads", [0] * 4)
    dilations, strides = op.attribute("dilations", [1, 1]), op.attribute("strides", [1, 1])
    padded = (image[0] + pads[0] + pads[2], image[1] + pads[1] + pads[3])
    reach = [d * (k - 1) + 1 for k, d in zip(block, dilations, strict=True)]
    steps = [(size - r) // s + 1 for size, r, s in zip(padded, reach, strides, strict=True)]
    n, entries, _ = x.shape
    channels = entries // math.prod(block)
    kernel = np.zeros((*reach, channels, entries), np.float32)
    for entry in range(entries):
        channel, tap = divmod(entry, math.prod(block))
        row, column = divmod(tap, block[1])
        kernel[row * dilations[0], column * dilations[1], channel, entry] = 1

    def run(t: Any, k: Any) -> Any:
        maps = tf.reshape(tf.transpose(t, (0, 2, 1)), (n, *steps, entries))
        whole = tf.nn.conv2d_transpose(maps, k, (n, *padded, channels), strides, "VALID")
        return whole[:, pads[0] : pads[0] + image[0], pads[1] : pads[1] + image[1]]

    return Tensor(b.call(run, b.plain(x), kernel), channels_last(4))


def deformable(b: Builder, op: ImportedOp) -> Value:
    """DeformConv (opset 19) for images with two axes: a convolution that reads x at positions which `offset` moves.

    - weight [O, C / group, h, w]
    - offset [N, offset_group · h · w · 2, output height, output width], (rows, columns) in pixels (Dai et al. 2017)
    - mask: factors of what is read, [N, offset_group · h · w, output height, output width]; absent: 1
    """
    x, weight = op.tensor(0), op.constant(1)
    if weight.ndim != 4:
        raise op.unsupported(f"it samples images of two axes, not {weight.ndim - 2}")
    w = windows_of(op, x, weight.shape[2:])
    x = b.pad(x, around(padding(w)))
    n, channels = x.shape[:2]
    group, parts = op.attribute("group", 1), op.attribute("offset_group", 1)
    bias = op.optional_constant(3)
    masks: list[Any] = [] if op.get(4) is None else [b.plain(op.get(4))]
    kernel = np.ascontiguousarray(weight.reshape(weight.shape[0], -1).T)  # [C / group · taps, O]
    taps = math.prod(w.kernel)
    each, outputs = channels // parts, weight.shape[0] // group

    def run(t: Any, offset: Any, k: Any, *mask: Any) -> Any:
        high, wide = (int(size) for size in offset.shape[2:])
        offset = tf.reshape(offset, (n, parts, taps, 2, high, wide))
        rows = (np.arange(high) * w.strides[0]).astype(np.float32).reshape(-1, 1)
        columns = (np.arange(wide) * w.strides[1]).astype(np.float32).reshape(1, -1)
        seen = []
        for tap in range(taps):
            i, j = divmod(tap, w.kernel[1])
            row, column = np.float32(i * w.dilations[0]), np.float32(j * w.dilations[1])
            found = []
            for part in range(parts):
                y, z = rows + row + offset[:, part, tap, 0], columns + column + offset[:, part, tap, 1]
                read = _bilinear(t[..., part * each : (part + 1) * each], y, z)
                if mask:
                    read = read * tf.reshape(mask[0], (n, parts, taps, high, wide))[:, part, tap][..., None]
                found.append(read)
            seen.append(tf.concat(found, -1))
        stacked = tf.stack(seen, -1)  # [N, h, w, C, taps]
        share = channels // group
        products = [
            tf.matmul(
                tf.reshape(stacked[..., g * share : (g + 1) * share, :], (n * high * wide, share * taps)),
                k[:, g * outputs : (g + 1) * outputs],
            )
            for g in range(group)
        ]
        y = tf.reshape(tf.concat(products, -1), (n, high, wide, group * outputs))
        return y if bias is None else y + bias

    return Tensor(b.call(run, b.last(x), b.plain(op.given(2)), kernel, *masks), channels_last(4))


def center_crop_pad(b: Builder, op: ImportedOp) -> Value:
    """CenterCropPad (opset 18): cuts longer axes to their centre, and puts zeros around shorter ones."""
    x = op.tensor(0)
    pairs = [(0, 0)] * x.rank
    for axis, want in zip(op.attribute("axes", range(x.rank)), op.constant(1), strict=True):
        more = int(want) - x.shape[axis]
        half = more // 2 if more > 0 else -(-more // 2)
        pairs[axis % x.rank] = (half, more - half)
    return b.pad(x, pairs)


OPERATORS: dict[str, Handler] = {
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "GridSample": grid_sample,
    "AffineGrid": affine_grid,
    "Col2Im": col2im,
    "DeformConv": deformable,
    "CenterCropPad": center_crop_pad,
}
