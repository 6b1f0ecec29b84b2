"""The published probes as plain PyTorch: what ours are compared with."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import nn

torch.set_num_threads(1)  # the sizes are small, and others test beside us


class TorchAttentive(nn.Module):
    """One query, cross attention with separate norms, BatchNorm without affine, linear layer."""

    def __init__(self, width, classes, heads):
        super().__init__()
        self.heads = heads
        self.query_token = nn.Parameter(torch.zeros(1, 1, width))
        self.norm_q, self.norm_k, self.norm_v = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.q_bias, self.v_bias = (nn.Parameter(torch.zeros(width)) for _ in range(2))
        self.proj = nn.Linear(width, width)
        self.fc_norm = nn.BatchNorm1d(width, affine=False, eps=1e-5)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens):
        batch, _, width = tokens.shape
        split = (batch, -1, self.heads, width // self.heads)
        query = self.q(self.norm_q(self.query_token.expand(batch, -1, -1))) + self.q_bias
        key, value = self.k(self.norm_k(tokens)), self.v(self.norm_v(tokens)) + self.v_bias
        query, key, value = (x.reshape(split).transpose(1, 2) for x in (query, key, value))
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        pooled = self.proj(attended.transpose(1, 2).reshape(batch, 1, width))[:, 0]
        return self.head(self.fc_norm(pooled))


NAMES = {
    "query": "query_token",
    "norm_q.scale": "norm_q.weight",
    "norm_q.bias": "norm_q.bias",
    "norm_k.scale": "norm_k.weight",
    "norm_k.bias": "norm_k.bias",
    "norm_v.scale": "norm_v.weight",
    "norm_v.bias": "norm_v.bias",
    "q": "q.weight",
    "k": "k.weight",
    "v": "v.weight",
    "q_bias": "q_bias",
    "v_bias": "v_bias",
    "out": "proj.weight",
    "out_bias": "proj.bias",
    "kernel": "head.weight",
    "bias": "head.bias",
}


def copied(module, head_values, names):
    """The module with the values of one of our heads, by dotted path."""
    state = module.state_dict()
    for path, name in names.items():
        value = torch.tensor(np.asarray(head_values[path]))
        value = value.T if value.ndim == 2 else value
        state[name] = value.reshape(state[name].shape)
    module.load_state_dict(state)
    return module


class Lars(torch.optim.Optimizer):
    """LARS as MAE and CAE have it: matrices alone are scaled, by 0.001 |p| / |gradient|."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                update = p.grad
                if p.ndim > 1:
                    norms = p.norm(), update.norm()
                    update = update * (0.001 * norms[0] / norms[1] if min(norms) > 0 else 1)
                momentum = self.state[p].setdefault("mu", torch.zeros_like(p))
                momentum.mul_(0.9).add_(update)
                p.sub_(group["lr"] * momentum)


def part_classification(rate, epochs):
    """Rates at a place in epochs: the published cosine by epoch."""
    return lambda place: rate * 0.5 * (1 + math.cos(math.pi * math.floor(place) / epochs))


def cae(rate, epochs, *, warmup, end):
    """CAE's: by step, from 0 to the rate, and by a cosine to the end."""

    def at(place):
        if place < warmup:
            return rate * place / warmup
        falling = 0.5 * (1 + math.cos(math.pi * (place - warmup) / (epochs - warmup)))
        return end + (rate - end) * falling

    return at


def train(
    module,
    features,
    labels,
    test,
    *,
    rate_at,
    epochs,
    batch,
    order,
    drop_last=False,
    optimizer=None,
    test_in_training_mode=False,
):
    """The published training; returns the predictions on the test items after every epoch."""
    features, labels, test = torch.tensor(features), torch.tensor(labels).long(), torch.tensor(test)
    optimizer = optimizer or torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    found = []
    for epoch in range(epochs):
        module.train()
        rows = torch.tensor(order(epoch, len(features)))
        batches = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        batches = [some for some in batches if len(some) == batch or not drop_last]
        for i, some in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(epoch + i / len(batches))
            loss = nn.functional.cross_entropy(module(features[some]), labels[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        tested = copy.deepcopy(module).train(test_in_training_mode)
        with torch.no_grad():
            found.append(tested(test).argmax(dim=1).numpy())
    return np.stack(found)
