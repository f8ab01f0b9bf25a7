"""The recipe `gpt` in PyTorch: the same model, text, split, windows and budget, to hold its figures against.

    python bench/twins/gpt.py --data FOLDER --seed 1 --threads 1       # trains; the loss of what is held out
    python bench/twins/gpt.py --generate --threads 1                   # times generation, lines as `thalweg bench --json` has them

The model is nanoGPT's small one (4 blocks of 128 features and 4 heads, 64 characters of context, tied embeddings, no biases in
products), begun as nanoGPT begins it, trained by AdamW as it does (batches of 12, 2000 steps). A row is a window of the text; all
windows come once in an epoch, in random order. The last tenth of the text is held out; all its windows are measured.
"""
import argparse
import json
import math
import pathlib
import time

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, features, heads, bias):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(features), nn.LayerNorm(features)
        self.project, self.output = nn.Linear(features, 3 * features, bias=bias), nn.Linear(features, features, bias=bias)
        self.rise, self.fall = nn.Linear(features, 4 * features, bias=bias), nn.Linear(4 * features, features, bias=bias)

    def split(self, x):
        """Queries, keys and values, [rows, heads, time, width] each."""
        rows, time, features = x.shape
        parts = self.project(x).view(rows, time, 3, self.heads, features // self.heads)
        return parts.permute(2, 0, 3, 1, 4).unbind(0)

    def rest(self, x, found):
        x = x + self.output(found.transpose(1, 2).reshape(x.shape))
        return x + self.fall(F.gelu(self.rise(self.norm2(x))))

    def forward(self, x):
        q, k, v = self.split(self.norm1(x))
        return self.rest(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def step(self, x, keys, values, position):
        """One token a row; keys and values, [rows, heads, context, width], are kept from step to step."""
        q, k, v = self.split(self.norm1(x))
        keys[:, :, position], values[:, :, position] = k[:, :, 0], v[:, :, 0]
        said = slice(0, position + 1)
        return self.rest(x, F.scaled_dot_product_attention(q, keys[:, :, said], values[:, :, said]))


class Gpt(nn.Module):
    def __init__(self, tokens, context, features, heads, blocks, bias=False, tied=True):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(tokens, features), nn.Embedding(context, features)
        self.blocks = nn.ModuleList(Block(features, heads, bias) for _ in range(blocks))
        self.norm = nn.LayerNorm(features)
        self.head = nn.Linear(features, tokens, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                last = name.endswith(("output.weight", "fall.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * blocks) if last else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, text):
        x = self.tokens(text) + self.positions.weight[: text.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def step(self, last, cache, position):
        x = self.tokens(last) + self.positions.weight[position]
        for block, (keys, values) in zip(self.blocks, cache):
            x = block.step(x, keys, values, position)
        return self.head(self.norm(x))[:, 0]


def windows(tokens, time):
    """Rows of `time` tokens one after the other, and what comes next behind each."""
    count = (len(tokens) - 1) // time
    return tokens[: count * time].view(count, time), tokens[1 : count * time + 1].view(count, time)


def mean_loss(model, rows, targets):
    with torch.inference_mode():
        parts = [
            F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum").item()
            for x, y in zip(rows.split(64), targets.split(64))
        ]
    return sum(parts) / targets.numel()


def train(args):
    torch.manual_seed(args.seed)
    (file,) = pathlib.Path(args.data).glob("*.txt")
    text = file.read_text(encoding="utf-8")
    characters = sorted(set(text))
    number = {character: i for i, character in enumerate(characters)}
    tokens = torch.tensor([number[character] for character in text])
    cut = int(len(tokens) * 0.9)
    (rows, targets), held_out = windows(tokens[:cut], args.context), windows(tokens[cut:], args.context)

    model = Gpt(len(characters), args.context, args.features, args.heads, args.blocks)
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.99), fused=True)
    rise = args.steps // 20

    def rate(step):
        if step < rise:
            return args.lr * step / rise
        done = (step - rise) / (args.steps - rise)
        return args.lr * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))

    step, began, measured = 0, time.perf_counter(), 0.0
    while step < args.steps:
        for batch in torch.randperm(len(rows)).split(args.batch):
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(rows[batch]).flatten(0, 1), targets[batch].flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            if step % 500 == 0 or step == args.steps:
                begin = time.perf_counter()
                valid_loss = mean_loss(model, *held_out)
                measured += time.perf_counter() - begin
                print(f"step {step}: loss {loss.item():.3f}, held out {valid_loss:.4f}", flush=True)
            if step == args.steps:
                break
    seconds = time.perf_counter() - began
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({
        "recipe": "gpt", "framework": "torch", "version": torch.__version__, "seed": args.seed, "steps": step,
        "valid_loss": valid_loss, "parameters": parameters, "seconds": seconds, "of_which_measuring": measured,
    }))


# The sizes that `thalweg bench` times: those of the recipe, and those of W9.
GENERATED = {
    "gpt_generate": dict(tokens=65, context=64, features=128, heads=4, blocks=4),
    "gpt_generate_w9": dict(tokens=1000, context=128, features=256, heads=4, blocks=4, bias=True, tied=False),
}


def generate(args):
    """Times a text of as many tokens as the context has, the likeliest each time, from an empty cache."""
    for workload, size in GENERATED.items():
        torch.manual_seed(args.seed)
        model = Gpt(**size)
        shape = (1, size["heads"], size["context"], size["features"] // size["heads"])

        @torch.inference_mode()
        def write():
            cache = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(size["blocks"])]
            last = torch.zeros(1, 1, dtype=torch.long)
            for position in range(size["context"]):
                token = model.step(last, cache, position).argmax(-1).item()
                last = torch.tensor([[token]])

        until = time.perf_counter() + 1.0
        while time.perf_counter() < until:
            write()
        times = []
        until = time.perf_counter() + args.seconds
        while time.perf_counter() < until or len(times) < 10:
            begin = time.perf_counter()
            write()
            times.append((time.perf_counter() - begin) * 1e6)
        times.sort()
        median = times[len(times) // 2]
        print(json.dumps({
            "framework": "torch", "version": torch.__version__, "mode": "eager, cached", "workload": workload,
            "metric": "call_time", "median": round(median, 2), "min": round(times[0], 2),
            "p90": round(times[len(times) * 9 // 10], 2), "unit": "us", "samples": len(times), "threads": args.threads,
            "rate": round(size["context"] / median * 1e6, 1), "rate_unit": "tokens/s",
        }), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a folder with one text, *.txt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--generate", action="store_true", help="time generation in place of training")
    parser.add_argument("--seconds", type=float, default=3.0, help="for which each size is timed")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.generate:
        generate(args)
    elif args.data is None:
        parser.error("--data is needed to train")
    else:
        train(args)


if __name__ == "__main__":
    main()
