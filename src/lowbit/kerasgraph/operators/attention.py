"""Attention and RotaryEmbedding (opset 23), over all tokens of an image at once."""

from typing import Any

import numpy as np
import tensorflow as tf

from lowbit.kerasgraph.builder import Builder, Handler
from lowbit.kerasgraph.values import ImportedOp, Value

_LEAST = np.float32(-1e9)  # what is added where a key is hidden: infinities have no range to quantize


def attention(b: Builder, op: ImportedOp) -> Value:
    """Attention: softmax(scale · q kᵀ + mask) v, for each head.

    q, k and v are [N, heads, tokens, size]; or [N, tokens, heads · size], and attributes give the numbers of heads.
    Raises UnsupportedError where keys and values are kept from one call to the next.
    """
    if any(op.get(i) is not None for i in range(4, len(op.inputs))):
        raise op.unsupported("it keeps keys and values from call to call, as a decoder of text does")
    by_tokens = len(b.plain(op.given(0)).shape) == 3
    heads = (op.attribute("q_num_heads", 0), op.attribute("kv_num_heads", 0)) if by_tokens else None
    scale, softcap, causal = op.attribute("scale", None), op.attribute("softcap", 0.0), op.attribute("is_causal", 0)

    def run(q: Any, k: Any, v: Any, *mask: Any) -> Any:
        return attended(q, k, v, mask[0] if mask else None, heads, scale, softcap, bool(causal))

    return b.whole(run, *(value for value in op.inputs[:4] if value is not None))


def _by_heads(t: Any, heads: int) -> Any:
    """[N, tokens, heads · size] as [N, heads, tokens, size]."""
    n, tokens, width = (int(size) for size in t.shape)
    return tf.transpose(tf.reshape(t, (n, tokens, heads, width // heads)), (0, 2, 1, 3))


def attended(
    q: Any,
    k: Any,
    v: Any,
    mask: Any,
    heads: tuple[int, int] | None,
    scale: float | None,
    softcap: float,
    causal: bool,
) -> Any:
    """Attention of tensors: softmax(scale · q kᵀ + mask) v, for each head.

    - q, k, v: [N, heads, tokens, size], or [N, tokens, heads · size] where `heads` is given. Several heads of q may
      share one head of k and v.
    - mask: numbers that are added to the scores, or booleans: False hides a key. A row without any key gives zeros.
    - heads: the number of heads of q, and of k and v
    - scale: factor of the scores; None: 1 / √size
    - softcap: c; scores s become c · tanh(s / c); 0: they stay as they are
    - causal: whether a token sees no later tokens
    """
    if heads is not None:
        q, k, v = _by_heads(q, heads[0]), _by_heads(k, heads[1]), _by_heads(v, heads[1])
    repeats = int(q.shape[1]) // int(k.shape[1])
    if repeats > 1:
        k, v = tf.repeat(k, repeats, 1), tf.repeat(v, repeats, 1)
    factor = float(q.shape[-1]) ** -0.5 if scale is None else scale
    scores = tf.matmul(q * factor, k, transpose_b=True)
    if softcap:
        scores = softcap * tf.tanh(scores * (1 / softcap))
    seen: Any = None
    if mask is not None and mask.dtype == tf.bool:
        seen = mask
    elif mask is not None:
        seen = mask > _LEAST
        scores = scores + tf.where(seen, mask, tf.zeros_like(mask))
    if causal:
        before = np.tril(np.ones(tuple(int(size) for size in scores.shape[-2:]), bool))
        seen = before if seen is None else tf.logical_and(seen, before)
    if seen is not None:
        scores = tf.where(seen, scores, _LEAST)
    shares = tf.nn.softmax(scores, -1)
    if mask is not None:
        shares = tf.where(tf.reduce_max(scores, -1, keepdims=True) > _LEAST, shares, 0.0)
    y = tf.matmul(shares, v)
    if heads is None:
        return y
    y = tf.transpose(y, (0, 2, 1, 3))
    n, tokens, count, size = (int(each) for each in y.shape)
    return tf.reshape(y, (n, tokens, count * size))


def rotary_embedding(b: Builder, op: ImportedOp) -> Value:
    """RotaryEmbedding: rotates pairs of entries of each head, by angles that depend on the token's position.

    x is [N, heads, tokens, size]; or [N, tokens, heads · size], and the attribute num_heads gives the number of heads.
    """
    x = op.given(0)
    heads = op.attribute("num_heads", 0) if len(b.plain(x).shape) == 3 else 0
    size, interleaved = op.attribute("rotary_embedding_dim", 0), bool(op.attribute("interleaved", 0))
    rest = [op.get(3)] if op.get(3) is not None else []

    def run(t: Any, cos: Any, sin: Any, *positions: Any) -> Any:
        return rotated(t, cos, sin, positions[0] if positions else None, heads, size, interleaved)

    return b.whole(run, x, op.get(1), op.get(2), *rest)


def rotated(x: Any, cos: Any, sin: Any, positions: Any, heads: int, size: int, interleaved: bool) -> Any:
    """x with the first `size` entries of each head rotated, pair by pair.

    - x: [N, heads, tokens, entries], or [N, tokens, heads · entries] where `heads` is given
    - cos, sin: of the angles, [N, tokens, size / 2]; with `positions`, [number of positions, size / 2]
    - positions: [N, tokens], the row of cos and sin that belongs to each token
    - heads: number of heads; 0: x has an axis of heads
    - size: how many entries are rotated; 0: all
    - interleaved: whether two neighbours are a pair; otherwise entry i of the first half and entry i of the second are
    """
    y = x if not heads else _by_heads(x, heads)
    size = size or int(y.shape[-1])
    turned, rest = y[..., :size], y[..., size:]
    if positions is not None:
        cos, sin = (tf.gather(each, tf.cast(positions, tf.int32)) for each in (cos, sin))
    cos, sin = tf.expand_dims(cos, 1), tf.expand_dims(sin, 1)
    if interleaved:
        left, right = turned[..., 0::2], turned[..., 1::2]
    else:
        left, right = tf.split(turned, 2, -1)
    pair = [cos * left - sin * right, sin * left + cos * right]
    turned = tf.reshape(tf.stack(pair, -1), turned.shape) if interleaved else tf.concat(pair, -1)
    y = tf.concat([turned, rest], -1) if int(rest.shape[-1]) else turned
    if not heads:
        return y
    n, count, tokens, entries = (int(each) for each in y.shape)
    return tf.reshape(tf.transpose(y, (0, 2, 1, 3)), (n, tokens, count * entries))


OPERATORS: dict[str, Handler] = {"Attention": attention, "RotaryEmbedding": rotary_embedding}
