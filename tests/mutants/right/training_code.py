"""Decoders in the habits of training code: a Lightning module, weights apart from the function, ESPnet's language model
with its losses, a class that builds its vocabulary, TorchScript, bfloat16, a loss for each layer, SASRec."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from right._seeded import seeded
from torch import Tensor, nn

# A Lightning module, without Lightning


class PreNorm(nn.Module):
    def __init__(self, dim: int, fn: nn.Module, dropout: float) -> None:
        super().__init__()
        self.norm, self.fn, self.drop = nn.LayerNorm(dim), fn, nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.fn(self.norm(x)))


class FusedAttention(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.to_qkv, self.to_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.to_qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        p = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        return self.to_out(out.transpose(1, 2).reshape(b, n, d))


class LitGPT(nn.Module):
    """`training_step` gets tokens [B, T + 1]; what it logs is kept in a dictionary."""

    def __init__(self, vocab_size: int = 40, dim: int = 32, depth: int = 2, block_size: int = 24) -> None:
        super().__init__()
        self.hparams = {"lr": 3e-4, "weight_decay": 0.1, "block_size": block_size}
        self.token_embedding, self.position_embedding = nn.Embedding(vocab_size, dim), nn.Embedding(block_size, dim)
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers.append(PreNorm(dim, FusedAttention(dim, 4, 0.1), 0.1))
            feedforward = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
            layers.append(PreNorm(dim, feedforward, 0.1))
        self.net = nn.Sequential(nn.Dropout(0.1), *layers, nn.LayerNorm(dim))
        self.to_logits = nn.Linear(dim, vocab_size, bias=False)
        self.criterion = nn.CrossEntropyLoss()
        self.logged: dict[str, float] = {}
        self.apply(self._init_weights)

    @staticmethod
    def _init_weights(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.data.normal_(mean=0.0, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.data.zero_()

    def forward(self, x: Tensor) -> Tensor:
        positions = torch.arange(x.size(1), device=x.device)
        return self.to_logits(self.net(self.token_embedding(x) + self.position_embedding(positions)))

    def shared_step(self, batch: Tensor, name: str) -> Tensor:
        x, y = batch[:, :-1], batch[:, 1:]
        loss = self.criterion(self(x).flatten(0, 1), y.flatten())
        self.logged[name] = float(loss.detach())
        return loss

    def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:  # noqa: ARG002
        return {"loss": self.shared_step(batch, "train_loss")}

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:  # noqa: ARG002
        self.shared_step(batch, "val_loss")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        decay = [p for p in self.parameters() if p.dim() >= 2]
        rest = [p for p in self.parameters() if p.dim() < 2]
        groups = [
            {"params": decay, "weight_decay": self.hparams["weight_decay"]},
            {"params": rest, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.hparams["lr"], betas=(0.9, 0.95))


# Weights in a flat dictionary, and a function of them


def init_weights(vocab: int, width: int, depth: int, length: int) -> dict[str, Tensor]:
    weights = {"tok": torch.randn(vocab, width) * 0.02, "pos": torch.randn(length, width) * 0.02}
    for i in range(depth):
        for name, shape in {"q": (width, width), "k": (width, width), "v": (width, width), "o": (width, width)}.items():
            weights[f"{i}_{name}"] = torch.randn(shape) * width**-0.5
        weights[f"{i}_up"] = torch.randn(width, 4 * width) * width**-0.5
        weights[f"{i}_down"] = torch.randn(4 * width, width) * (4 * width) ** -0.5
        weights[f"{i}_n1"], weights[f"{i}_n2"] = torch.ones(width), torch.ones(width)
    weights["n"] = torch.ones(width)
    return weights


def rms(x: Tensor, gain: Tensor) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * gain


def run(w: dict[str, Tensor], tokens: Tensor, heads: int, depth: int) -> Tensor:
    """Logits [B, T, V]"""
    n = tokens.shape[-1]
    x = w["tok"][tokens] + w["pos"][:n]
    future = torch.triu(torch.ones(n, n, dtype=torch.bool), 1)
    for i in range(depth):
        h = rms(x, w[f"{i}_n1"])
        q, k, v = (torch.stack((h @ w[f"{i}_{part}"]).chunk(heads, dim=-1)) for part in "qkv")
        scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(future, -math.inf)
        mixed = torch.cat((scores.softmax(-1) @ v).unbind(0), dim=-1)
        x = x + mixed @ w[f"{i}_o"]
        x = x + F.silu(rms(x, w[f"{i}_n2"]) @ w[f"{i}_up"]) @ w[f"{i}_down"]
    return rms(x, w["n"]) @ w["tok"].T


class FunctionOfWeights(nn.Module):
    """The heads stand on an axis of their own in front of the batch."""

    def __init__(self, vocab: int = 37, width: int = 32, depth: int = 2, length: int = 20) -> None:
        super().__init__()
        self.depth, self.length = depth, length
        self.weights = nn.ParameterDict(init_weights(vocab, width, depth, length))

    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.shape[-1] > self.length:
            raise ValueError(f"{tokens.shape[-1]} tokens, and positions for {self.length}")
        return run(dict(self.weights), tokens, 4, self.depth)


# ESPnet: a language model inside a module that adds the start and the end, and returns its loss


def make_pad_mask(lengths: Tensor, maxlen: int) -> Tensor:
    return torch.arange(maxlen) >= lengths[:, None]


class EspnetSelfAttention(nn.Module):
    def __init__(self, n_head: int, n_feat: int) -> None:
        super().__init__()
        self.d_k, self.h = n_feat // n_head, n_head
        self.linear_q, self.linear_k = nn.Linear(n_feat, n_feat), nn.Linear(n_feat, n_feat)
        self.linear_v, self.linear_out = nn.Linear(n_feat, n_feat), nn.Linear(n_feat, n_feat)

    def forward(self, query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
        n_batch = query.size(0)
        q = self.linear_q(query).view(n_batch, -1, self.h, self.d_k).transpose(1, 2)
        k = self.linear_k(key).view(n_batch, -1, self.h, self.d_k).transpose(1, 2)
        v = self.linear_v(key).view(n_batch, -1, self.h, self.d_k).transpose(1, 2)
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(self.d_k)
        hidden = mask.unsqueeze(1).eq(0)
        scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
        attn = torch.softmax(scores, dim=-1).masked_fill(hidden, 0.0)
        x = torch.matmul(attn, v).transpose(1, 2).contiguous().view(n_batch, -1, self.h * self.d_k)
        return self.linear_out(x)


class TransformerLM(nn.Module):
    """Keeps what each layer gave for the tokens so far: `batch_score` computes the last place alone."""

    def __init__(self, vocab_size: int, att_unit: int = 32, head: int = 4, unit: int = 64, layer: int = 2) -> None:
        super().__init__()
        self.att_unit = att_unit
        self.embed = nn.Embedding(vocab_size, att_unit)
        self.attns = nn.ModuleList([EspnetSelfAttention(head, att_unit) for _ in range(layer)])
        self.norms1 = nn.ModuleList([nn.LayerNorm(att_unit, eps=1e-12) for _ in range(layer)])
        self.norms2 = nn.ModuleList([nn.LayerNorm(att_unit, eps=1e-12) for _ in range(layer)])
        self.feeds = nn.ModuleList(
            [nn.Sequential(nn.Linear(att_unit, unit), nn.ReLU(), nn.Linear(unit, att_unit)) for _ in range(layer)]
        )
        self.after_norm, self.decoder = nn.LayerNorm(att_unit, eps=1e-12), nn.Linear(att_unit, vocab_size)

    def positions(self, length: int) -> Tensor:
        position = torch.arange(length).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, self.att_unit, 2) * -(math.log(10000.0) / self.att_unit))
        return torch.stack([torch.sin(position * div_term), torch.cos(position * div_term)], dim=-1).flatten(1)

    def _target_mask(self, ys_in_pad: Tensor) -> Tensor:
        ys_mask = ys_in_pad != 0
        m = torch.tril(torch.ones(ys_mask.size(-1), ys_mask.size(-1), dtype=torch.bool)).unsqueeze(0)
        return ys_mask.unsqueeze(-2) & m

    def encode(self, ys: Tensor, cache: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        mask = self._target_mask(ys)
        x = self.embed(ys) * math.sqrt(self.att_unit)
        x = x + self.positions(ys.size(1)).to(x)
        if cache is None:
            cache = [x[:, :0] for _ in self.attns]
        kept = []
        for i, attn in enumerate(self.attns):
            old = cache[i].size(1)
            h = self.norms1[i](x)
            new = x[:, old:] + attn(h[:, old:], h, mask[:, old:])
            new = new + self.feeds[i](self.norms2[i](new))
            x = torch.cat([cache[i], new], dim=1)
            kept.append(x)
        return self.after_norm(x), kept

    def forward(self, input: Tensor, hidden: None = None) -> tuple[Tensor, None]:  # noqa: A002, ARG002
        return self.decoder(self.encode(input, None)[0]), None

    def batch_score(self, ys: Tensor, states: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """Log-probabilities [B, V] of what follows ys [B, T]; states as the call before returned them."""
        h, states = self.encode(ys, states)
        return self.decoder(h[:, -1]).log_softmax(dim=-1), states


class ESPnetLanguageModel(nn.Module):
    def __init__(self, vocab_size: int = 41, ignore_id: int = 0) -> None:
        super().__init__()
        self.lm = TransformerLM(vocab_size)
        for p in self.lm.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)
        nn.init.normal_(self.lm.embed.weight, std=self.lm.att_unit**-0.5)
        nn.init.normal_(self.lm.decoder.weight, std=0.02)
        self.sos = self.eos = vocab_size - 1
        self.ignore_id = ignore_id

    def nll(self, text: Tensor, text_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Of each token [B, T + 1], the end included; 0 behind it."""
        text = text.masked_fill(make_pad_mask(text_lengths, text.size(1)), self.ignore_id)
        x = F.pad(text, [1, 0], "constant", self.sos)
        t = F.pad(text, [0, 1], "constant", self.ignore_id)
        t = t.scatter(1, text_lengths[:, None], self.eos)
        x_lengths = text_lengths + 1
        y, _ = self.lm(x, None)
        nll = F.cross_entropy(y.transpose(1, 2), t, reduction="none")
        return nll.masked_fill(make_pad_mask(x_lengths, x.size(1)), 0.0), x_lengths

    def forward(self, text: Tensor, text_lengths: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        nll, y_lengths = self.nll(text, text_lengths)
        ntokens = y_lengths.sum()
        loss = nll.sum() / ntokens
        return loss, {"loss": loss.detach()}, ntokens


# A class that builds its vocabulary from a text


POEM = "the quick brown fox jumps over the lazy dog; she sells sea shells by the sea shore."


class CharTransformer(nn.Module):
    """`forward(x, y)` gives (loss, logits), and what is written for a string is a string."""

    def __init__(
        self, text: str = POEM, d_model: int = 32, n_heads: int = 2, n_layers: int = 2, max_len: int = 32
    ) -> None:
        super().__init__()
        self.chars = sorted(set(text))
        self.stoi, self.max_len = {c: i for i, c in enumerate(self.chars)}, max_len
        self.embed = nn.Embedding(len(self.chars), d_model)
        self.pos = nn.Parameter(torch.randn(1, max_len, d_model) * 0.02)
        block = nn.TransformerEncoderLayer(
            d_model, n_heads, 4 * d_model, 0.1, F.gelu, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, n_layers, nn.LayerNorm(d_model), enable_nested_tensor=False)
        self.out = nn.Linear(d_model, len(self.chars))
        nn.init.normal_(self.embed.weight, std=0.02)
        nn.init.normal_(self.out.weight, std=0.02)

    def encode(self, text: str) -> Tensor:
        return torch.tensor([self.stoi[c] for c in text])

    def decode(self, ids: Tensor) -> str:
        return "".join(self.chars[i] for i in ids.tolist())

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor | None, Tensor]:
        T = x.size(1)  # noqa: N806
        mask = nn.Transformer.generate_square_subsequent_mask(T, dtype=self.pos.dtype)
        h = self.blocks(self.embed(x) + self.pos[:, :T], mask=mask, is_causal=True)
        logits = self.out(h)
        loss = None if y is None else F.cross_entropy(logits.view(-1, logits.size(-1)), y.reshape(-1))
        return loss, logits

    @torch.no_grad()
    def write(self, prompt: str, length: int = 20) -> str:
        was_training = self.training
        self.eval()
        ids = self.encode(prompt)[None]
        for _ in range(length):
            _, logits = self(ids[:, -self.max_len :])
            ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        self.train(was_training)
        return self.decode(ids[0])


# For TorchScript: types everywhere, no keyword tricks, the cache a list of tensors


class ScriptLayer(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads: int = heads
        self.scale: float = (dim // heads) ** -0.5
        self.ln1, self.ln2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """past [2, B, H, S, E], with S of 0 at the beginning"""
        b, t, d = x.size()
        qkv = self.qkv(self.ln1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], torch.cat([past[0], qkv[1]], dim=2), torch.cat([past[1], qkv[2]], dim=2)
        scores = torch.matmul(q, k.transpose(2, 3)) * self.scale
        s = k.size(2)
        hidden = torch.ones([t, s], dtype=torch.bool).triu(s - t + 1)
        weights = torch.softmax(scores.masked_fill(hidden, float("-inf")), dim=-1)
        y = torch.matmul(weights, v).transpose(1, 2).reshape(b, t, d)
        x = x + self.proj(y)
        return x + self.fc2(F.relu(self.fc1(self.ln2(x)))), torch.stack([k, v])


class ScriptGPT(nn.Module):
    def __init__(self, vocab: int = 44, dim: int = 32, heads: int = 4, depth: int = 2, context: int = 32) -> None:
        super().__init__()
        self.heads: int = heads
        self.wte, self.wpe = nn.Embedding(vocab, dim), nn.Embedding(context, dim)
        self.layers = nn.ModuleList([ScriptLayer(dim, heads) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, vocab, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens: Tensor, past: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        b, t = tokens.size()
        states: list[Tensor] = []
        if past is not None:
            states = past
        start = 0
        if len(states) > 0:
            start = states[0].size(3)
        x = self.wte(tokens) + self.wpe(torch.arange(start, start + t))
        new: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            if len(states) > 0:
                state = states[i]
            else:
                state = torch.zeros([2, b, self.heads, 0, x.size(2) // self.heads], dtype=x.dtype)
            x, state = layer(x, state)
            new.append(state)
        return self.head(self.norm(x)), new


# Trained in bfloat16: norms, softmax and loss in float32


class Float32Norm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class Bfloat16GPT(nn.Module):
    """`forward(input_ids, labels)` returns the loss alone where there are labels; -100 is ignored."""

    def __init__(self, vocab: int = 48, dim: int = 64, heads: int = 4, depth: int = 2, context: int = 24) -> None:
        super().__init__()
        self.heads = heads
        self.embed, self.position = nn.Embedding(vocab, dim), nn.Embedding(context, dim)
        self.norms = nn.ModuleList([Float32Norm(dim) for _ in range(2 * depth + 1)])
        self.qkv = nn.ModuleList([nn.Linear(dim, 3 * dim) for _ in range(depth)])
        self.proj = nn.ModuleList([nn.Linear(dim, dim) for _ in range(depth)])
        self.up = nn.ModuleList([nn.Linear(dim, 4 * dim) for _ in range(depth)])
        self.down = nn.ModuleList([nn.Linear(4 * dim, dim) for _ in range(depth)])
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        for layer in (*self.proj, *self.down):
            nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * depth))
        self.to(torch.bfloat16)

    def mix(self, i: int, x: Tensor) -> Tensor:
        q, k, v = self.qkv[i](x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q.float() @ k.float().transpose(-1, -2) * q.shape[-1] ** -0.5
        future = torch.full_like(scores, -torch.inf).triu(1)
        weights = F.softmax(scores + future, dim=-1, dtype=torch.float32)
        return self.proj[i]((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2))

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.embed(input_ids) + self.position(torch.arange(input_ids.shape[1]))
        for i in range(len(self.qkv)):
            x = x + self.mix(i, self.norms[2 * i](x))
            x = x + self.down[i](F.gelu(self.up[i](self.norms[2 * i + 1](x))))
        logits = F.linear(self.norms[-1](x), self.embed.weight).float()
        if labels is None:
            return logits
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)


# A prediction after each layer, as character-level transformers have had it


class DeeplySupervised(nn.Module):
    """A list of logits, a layer each; positions are added before every layer, and the loss weighs the last most."""

    def __init__(self, vocab: int = 38, width: int = 32, heads: int = 2, depth: int = 3, context: int = 20) -> None:
        super().__init__()
        self.embedding, self.context = nn.Embedding(vocab, width), context
        self.positions = nn.ParameterList([nn.Parameter(torch.randn(context, width) * 0.02) for _ in range(depth)])
        self.attentions = nn.ModuleList([nn.MultiheadAttention(width, heads, batch_first=True) for _ in range(depth)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2 * depth)])
        self.mlps = nn.ModuleList(
            [nn.Sequential(nn.Linear(width, 96), nn.ReLU(), nn.Linear(96, width)) for _ in range(depth)]
        )
        self.classifiers = nn.ModuleList([nn.Linear(width, vocab) for _ in range(depth)])
        nn.init.normal_(self.embedding.weight, std=0.02)
        for classifier in self.classifiers:
            nn.init.normal_(classifier.weight, std=0.02)

    def forward(self, x: Tensor) -> list[Tensor]:
        n = x.size(1)
        hidden = torch.ones(n, n, dtype=torch.bool).triu(diagonal=1)
        h, outputs = self.embedding(x), []
        for i, attention in enumerate(self.attentions):
            h = h + self.positions[i][:n]
            mixed, _ = attention(h, h, h, attn_mask=hidden, need_weights=False)
            h = self.norms[2 * i](h + mixed)
            h = self.norms[2 * i + 1](h + self.mlps[i](h))
            outputs.append(self.classifiers[i](h))
        return outputs

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        outputs = self(x)
        losses = torch.stack([F.cross_entropy(logits.transpose(1, 2), y) for logits in outputs])
        weights = torch.arange(1.0, len(outputs) + 1)
        return (losses * weights / weights.sum()).sum()


# SASRec: the next item a user takes; histories are padded with 0 at the left


class PointWiseFeedForward(nn.Module):
    def __init__(self, hidden_units: int, dropout_rate: float) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(hidden_units, hidden_units, 1), nn.Conv1d(hidden_units, hidden_units, 1)
        self.dropout1, self.dropout2 = nn.Dropout(dropout_rate), nn.Dropout(dropout_rate)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.dropout1(self.conv1(inputs.transpose(-1, -2)))
        outputs = self.dropout2(self.conv2(F.relu(outputs)))
        return outputs.transpose(-1, -2) + inputs


class SASRec(nn.Module):
    """`forward(log_seqs, pos_seqs, neg_seqs)` scores two candidates at each step; `predict` scores items at the end."""

    def __init__(self, item_num: int = 50, hidden_units: int = 32, maxlen: int = 16, num_blocks: int = 2) -> None:
        super().__init__()
        self.item_num = item_num
        self.item_emb = nn.Embedding(item_num + 1, hidden_units, padding_idx=0)
        self.pos_emb = nn.Embedding(maxlen + 1, hidden_units, padding_idx=0)
        self.emb_dropout = nn.Dropout(0.2)
        self.attention_layernorms, self.attention_layers = nn.ModuleList(), nn.ModuleList()
        self.forward_layernorms, self.forward_layers = nn.ModuleList(), nn.ModuleList()
        self.last_layernorm = nn.LayerNorm(hidden_units, eps=1e-8)
        for _ in range(num_blocks):
            self.attention_layernorms.append(nn.LayerNorm(hidden_units, eps=1e-8))
            self.attention_layers.append(nn.MultiheadAttention(hidden_units, 1, 0.2, batch_first=True))
            self.forward_layernorms.append(nn.LayerNorm(hidden_units, eps=1e-8))
            self.forward_layers.append(PointWiseFeedForward(hidden_units, 0.2))
        for embedding in (self.item_emb, self.pos_emb):
            nn.init.xavier_normal_(embedding.weight)
            embedding.weight.data[0] = 0

    def log2feats(self, log_seqs: Tensor) -> Tensor:
        seqs = self.item_emb(log_seqs) * self.item_emb.embedding_dim**0.5
        real = log_seqs != 0
        seqs = self.emb_dropout(seqs + self.pos_emb(real.cumsum(dim=1) * real))
        n = log_seqs.shape[1]
        future = ~torch.tril(torch.ones(n, n, dtype=torch.bool))
        hidden = (future | ~real[:, None]) & ~torch.eye(n, dtype=torch.bool)
        for i, attention in enumerate(self.attention_layers):
            queries = self.attention_layernorms[i](seqs)
            mixed, _ = attention(queries, seqs, seqs, attn_mask=hidden)
            seqs = self.forward_layers[i](self.forward_layernorms[i](queries + mixed))
        return self.last_layernorm(seqs)

    def forward(self, log_seqs: Tensor, pos_seqs: Tensor, neg_seqs: Tensor) -> tuple[Tensor, Tensor]:
        feats = self.log2feats(log_seqs)
        return (feats * self.item_emb(pos_seqs)).sum(dim=-1), (feats * self.item_emb(neg_seqs)).sum(dim=-1)

    def predict(self, log_seqs: Tensor, item_indices: Tensor) -> Tensor:
        """log_seqs [B, T], item_indices [N]; scores [B, N]"""
        return self.log2feats(log_seqs)[:, -1] @ self.item_emb(item_indices).T


def scripted() -> nn.Module:
    return torch.jit.script(seeded(ScriptGPT))


MODELS: dict[str, Callable[[], Any]] = {
    "a Lightning module": partial(seeded, LitGPT),
    "a function of weights": partial(seeded, FunctionOfWeights),
    "ESPnet": partial(seeded, ESPnetLanguageModel),
    "a vocabulary of its own": partial(seeded, CharTransformer),
    "TorchScript": scripted,
    "bfloat16": partial(seeded, Bfloat16GPT),
    "a list of predictions": partial(seeded, DeeplySupervised),
    "SASRec": partial(seeded, SASRec),
}
