"""Attention and RotaryEmbedding (opset 23), over all tokens of an image at once."""

import torch
from torch import fx

from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.values import ImportedOp, Value


def attention(b: Builder, op: ImportedOp) -> Value:
    """Attention: softmax(scale · q kᵀ + mask) v, for each head.

    q, k and v are [N, heads, tokens, size]; or [N, tokens, heads · size], and attributes give the numbers of heads.
    Raises UnsupportedError where keys and values are kept from one call to the next.
    """
    if any(op.get(i) is not None for i in range(4, len(op.inputs))):
        raise op.unsupported("it keeps keys and values from call to call, as a decoder of text does")
    q, k, v = (b.tensor(op.get(i)) for i in range(3))
    mask = None if op.get(3) is None else b.tensor(op.get(3))
    heads = (op.attribute("q_num_heads", 0), op.attribute("kv_num_heads", 0)) if b.rank(q) == 3 else None
    scale, softcap = op.attribute("scale", None), op.attribute("softcap", 0.0)
    return b.call(attended, q, k, v, mask, heads, scale, softcap, bool(op.attribute("is_causal", 0)))


def attended(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    heads: tuple[int, int] | None,
    scale: float | None,
    softcap: float,
    causal: bool,
) -> torch.Tensor:
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
        q, k, v = (
            torch.unflatten(x, -1, (n, -1)).transpose(1, 2) for x, n in ((q, heads[0]), (k, heads[1]), (v, heads[1]))
        )
    repeats = q.shape[1] // k.shape[1]
    if repeats > 1:
        k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    scores = torch.matmul(q * (q.shape[-1] ** -0.5 if scale is None else scale), k.transpose(-1, -2))
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is not None and mask.dtype is torch.bool:
        mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, float("-inf"))
    scores = scores if mask is None else scores + mask
    if causal:
        ahead = torch.ones_like(scores, dtype=torch.bool).triu(1)
        scores = scores.masked_fill(ahead, float("-inf"))
    shares = torch.softmax(scores, -1)
    if mask is not None:
        shares = shares.masked_fill(torch.isneginf(scores.amax(-1, keepdim=True)), 0.0)
    y = torch.matmul(shares, v)
    return y if heads is None else y.transpose(1, 2).flatten(2)


def rotary_embedding(b: Builder, op: ImportedOp) -> Value:
    """RotaryEmbedding: rotates pairs of entries of each head, by angles that depend on the token's position.

    x is [N, heads, tokens, size]; or [N, tokens, heads · size], and the attribute num_heads gives the number of heads.
    """
    x, cos, sin = (b.tensor(op.get(i)) for i in range(3))
    positions: fx.Node | None = None if op.get(3) is None else b.tensor(op.get(3))
    heads = op.attribute("num_heads", 0) if b.rank(x) == 3 else 0
    size, interleaved = op.attribute("rotary_embedding_dim", 0), bool(op.attribute("interleaved", 0))
    return b.call(rotated, x, cos, sin, positions, heads, size, interleaved)


def rotated(
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    positions: torch.Tensor | None,
    heads: int,
    size: int,
    interleaved: bool,
) -> torch.Tensor:
    """x with the first `size` entries of each head rotated, pair by pair.

    - x: [N, heads, tokens, entries], or [N, tokens, heads · entries] where `heads` is given
    - cos, sin: of the angles, [N, tokens, size / 2]; with `positions`, [number of positions, size / 2]
    - positions: [N, tokens], the row of cos and sin that belongs to each token
    - heads: number of heads; 0: x has an axis of heads
    - size: how many entries are rotated; 0: all
    - interleaved: whether two neighbours are a pair; otherwise entry i of the first half and entry i of the second are
    """
    y = torch.unflatten(x, -1, (heads, -1)) if heads else x.transpose(1, 2)
    size = size or y.shape[-1]
    turned, rest = y[..., :size], y[..., size:]
    if positions is not None:
        cos, sin = cos[positions], sin[positions]
    cos, sin = cos.unsqueeze(2), sin.unsqueeze(2)
    first, second = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    pair = [cos * first - sin * second, sin * first + cos * second]
    turned = torch.stack(pair, -1).flatten(-2) if interleaved else torch.cat(pair, -1)
    y = torch.cat([turned, rest], -1)
    return y.flatten(2) if heads else y.transpose(1, 2)


OPERATORS: dict[str, Handler] = {"Attention": attention, "RotaryEmbedding": rotary_embedding}
