"""The PyTorch twin of `thalweg train smart-reply`: the same data, split, words, model, first weights, batches, budget and
figures. Prints one line of JSON.

    python bench/twins/smart_reply.py --data DIR --seed 1 --threads 1
"""

import argparse
import json
import math
import pathlib
import random
import time

import torch
from torch import nn

from translate import END, PAD, START, UNKNOWN, Translator, batches, padded, vocabulary, words

ANY, HIDDEN_TOPICS = "<any>", 4


def read_dialogues(folder):
    """The topic and the turns of each."""
    blocks = (folder / "self_dialogue_subset.txt").read_text(encoding="utf-8").strip().split("\n\n")
    dialogues = [[line.strip() for line in block.split("\n")] for block in blocks]
    return [(f"<{lines[0][2:].lower()}>", lines[1:]) for lines in dialogues]


def exchanges(dialogues, known, longest, train):
    """What is said, with the topic before it, and the reply."""
    pairs = []
    for topic, turns in dialogues:
        turns = [words(turn) for turn in turns]
        for said, reply in zip(turns, turns[1:]):
            if train and len(reply) > longest:
                continue
            tag = ANY if train and len(pairs) % HIDDEN_TOPICS == 0 else topic
            said, reply = ([known.get(word, UNKNOWN) for word in turn] for turn in (said, reply))
            pairs.append(([known[tag]] + said[-longest:], reply))
    return pairs


class Suggesting(Translator):
    """With a trigger, which sees the mean of what was read."""

    def __init__(self, tokens, hidden, layers, dropout):
        super().__init__([tokens, tokens], hidden, layers, dropout)
        self.trigger = nn.Linear(hidden, 1)
        nn.init.xavier_uniform_(self.trigger.weight)
        nn.init.zeros_(self.trigger.bias)

    def forward(self, sources, reply):
        memory, present, states = self.read(sources)
        mean = memory.sum(1) / present.sum(1, keepdim=True)
        return self.say(reply, memory, present, states)[0], self.trigger(mean).squeeze(1)


@torch.no_grad()
def measured(model, pairs, short, batch=64):
    """The loss of a token, and how often the trigger is right."""
    total = count = right = 0
    for at in range(0, len(pairs), batch):
        sources, replies = zip(*pairs[at:at + batch])
        logits, worth = model(sources, padded([[START] + row for row in replies]))
        target = padded([row + [END] for row in replies])
        total += nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="sum").item()
        count += (target != PAD).sum().item()
        right += sum((logit >= 0) == (len(row) <= short) for logit, row in zip(worth.tolist(), replies))
    return total / count, right / len(pairs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--min-count", type=int, default=3)
    parser.add_argument("--longest", type=int, default=30)
    parser.add_argument("--short", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    chance = random.Random(args.seed)

    dialogues = read_dialogues(args.data)
    part = lambda *rows: [dialogue for row, dialogue in enumerate(dialogues) if row % 10 in rows]
    train, valid, test = part(0, 1, 2, 3, 5, 6, 7, 8), part(4), part(9)
    tags = sorted({ANY, *(topic for topic, _ in dialogues)})
    known = vocabulary((turn for _, turns in train for turn in turns), args.min_count, tags)
    train = exchanges(train, known, args.longest, True)
    valid, test = (exchanges(held_out, known, args.longest, False) for held_out in (valid, test))

    model = Suggesting(len(known), args.hidden, args.layers, args.dropout)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=args.lr)
    steps = args.epochs * math.ceil(len(train) / args.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, steps, cycle_momentum=False)
    start = time.process_time()
    for _ in range(args.epochs):
        for sources, reply, target in batches(train, args.batch, chance):
            logits, worth = model(sources, reply)
            is_short = ((target != PAD).sum(1) - 1 <= args.short).float()
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD)
            loss = loss + nn.functional.binary_cross_entropy_with_logits(worth, is_short)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 10.0)
            optimizer.step()
            schedule.step()
    seconds = time.process_time() - start
    model.eval()
    (valid_loss, _), (test_loss, right) = (measured(model, held_out, args.short) for held_out in (valid, test))
    print(json.dumps({
        "seed": args.seed,
        "steps": steps,
        "words": len(known),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "processor_seconds": round(seconds, 1),
        "valid_loss": valid_loss,
        "test_perplexity": math.exp(test_loss),
        "test_trigger_accuracy": right,
    }))


main()
