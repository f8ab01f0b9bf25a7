"""The PyTorch twin of `thalweg train translate`: the same data, split, words, model, first weights, batches, budget and
BLEU. Prints one line of JSON.

    python bench/twins/translate.py --data DIR --seed 1 --epochs 6 --hidden 128 --min-count 5 --threads 1
"""

import argparse
import collections
import gzip
import io
import json
import math
import pathlib
import random
import re
import time
import zipfile

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

PAD, UNKNOWN, START, END = range(4)
# Words as Unicode divides them (UAX #29), as far as these data need it.
WORD = re.compile(r"\w(?:\w|(?<=[^\W\d_])['’.:·](?=[^\W\d_])|(?<=\d)['’.,;](?=\d))*|[^\w\s]")


def words(text):
    return WORD.findall(text.lower())


def read_pairs(folder, language):
    """Training, validation and test pairs of English and the other language."""
    if (folder / "train.en.gz").exists():
        def lines(name):
            return [line.strip() for line in gzip.open(folder / name, "rt", encoding="utf-8")]
        parts = [list(zip(lines(f"{part}.en.gz"), lines(f"{part}.{language}.gz"))) for part in ("train", "val", "test_2016_flickr")]
        return parts
    archive = zipfile.ZipFile(folder / "fra-eng.zip")
    text = io.TextIOWrapper(archive.open("fra.txt"), encoding="utf-8").read()
    pairs = [tuple(field.strip() for field in line.split("\t")[:2]) for line in text.split("\n") if line]
    seen, held_out, valid, test = set(), set(), [], []
    for pair in pairs:
        if pair[0] in seen:
            continue
        seen.add(pair[0])
        part = {10: valid, 0: test}.get(len(seen) % 20)
        if part is not None:
            held_out.update(pair)
            part.append(pair)
    train = [pair for pair in pairs if pair[0] not in held_out and pair[1] not in held_out]
    return train, valid, test


def vocabulary(texts, min_count, tags=()):
    counts = collections.Counter(word for text in texts for word in words(text))
    known = sorted((word for word in counts if counts[word] >= min_count), key=lambda word: (-counts[word], word))
    return {word: number for number, word in enumerate(["<pad>", "<unk>", "<s>", "</s>", *tags] + known)}


def encode(pairs, vocabularies, longest):
    """Pairs of at most so many words each."""
    def ids(text, known):
        return [known.get(word, UNKNOWN) for word in words(text)]
    numbers = ((ids(a, vocabularies[0]), ids(b, vocabularies[1])) for a, b in pairs)
    return [pair for pair in numbers if max(map(len, pair)) <= longest]


def both_ways(pairs, tags):
    """Each pair in both directions, the source behind the tag of the language that is wanted."""
    to_english, to_other = tags
    return [exchange for a, b in pairs for exchange in (([to_other] + a, b), ([to_english] + b, a))]


def padded(rows):
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=PAD)


def batches(pairs, batch, chance, pool=50):
    """Rows of like length make a batch."""
    order = list(range(len(pairs)))
    chance.shuffle(order)
    pools = [order[at:at + pool * batch] for at in range(0, len(order), pool * batch)]
    order = [row for pool in pools for row in sorted(pool, key=lambda row: (len(pairs[row][1]), len(pairs[row][0])))]
    cut = [order[at:at + batch] for at in range(0, len(order), batch)]
    rest = [cut.pop()] if len(cut[-1]) < batch else []
    chance.shuffle(cut)
    for rows in cut + rest:
        sources, replies = zip(*(pairs[row] for row in rows))
        yield sources, padded([[START] + row for row in replies]), padded([row + [END] for row in replies])


class Translator(nn.Module):
    def __init__(self, tokens, hidden, layers, dropout):
        super().__init__()
        self.source = nn.Embedding(tokens[0], hidden)
        self.reply = nn.Embedding(tokens[1], hidden)
        between = dropout if layers > 1 else 0.0
        self.encoder = nn.LSTM(hidden, hidden, layers, batch_first=True, dropout=between)
        self.decoder = nn.LSTM(hidden, hidden, layers, batch_first=True, dropout=between)
        self.combine = nn.Linear(2 * hidden, hidden)
        self.output = nn.Linear(hidden, tokens[1])
        self.dropout = nn.Dropout(dropout)
        for table in (self.source, self.reply):
            nn.init.normal_(table.weight, std=0.1)
        for linear in (self.combine, self.output):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        for stack in (self.encoder, self.decoder):
            for name, parameter in stack.named_parameters():
                if name.startswith("bias"):
                    nn.init.zeros_(parameter)
                    if "_hh" in name:
                        parameter.requires_grad_(False)  # One bias.
                    else:
                        nn.init.ones_(parameter[hidden:2 * hidden])  # Of the forget gate.
                    continue
                for gate in parameter.data.chunk(4):
                    (nn.init.orthogonal_ if "_hh" in name else nn.init.xavier_uniform_)(gate)

    def read(self, sources):
        lengths = torch.tensor([len(row) for row in sources])
        embedded = self.dropout(self.source(padded(sources)))
        packed, states = self.encoder(pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False))
        memory, _ = pad_packed_sequence(packed, batch_first=True)
        return memory, torch.arange(memory.shape[1])[None] < lengths[:, None], states

    def say(self, reply, memory, present, states):
        outputs, states = self.decoder(self.dropout(self.reply(reply)), states)
        scores = (outputs @ memory.transpose(1, 2)).masked_fill(~present[:, None], -1e30)
        found = scores.softmax(-1) @ memory
        combined = self.dropout(torch.tanh(self.combine(torch.cat([found, outputs], -1))))
        return self.output(combined), states

    def forward(self, sources, reply, given=1.0):
        """`given`: the probability that a token is the given one, not the one that was the likeliest before it."""
        memory, present, states = self.read(sources)
        if given == 1.0:
            return self.say(reply, memory, present, states)[0]
        is_given, last, logits = torch.rand(reply.shape) < given, reply[:, 0], []
        for time in range(reply.shape[1]):
            fed = torch.where(is_given[:, time], reply[:, time], last)
            now, states = self.say(fed[:, None], memory, present, states)
            logits.append(now)
            last = now[:, 0].argmax(-1)
        return torch.cat(logits, 1)


class Attention(nn.Module):
    """Several heads, with dropout of the weights."""

    def __init__(self, hidden, heads, dropout, last):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.output = (nn.Linear(hidden, hidden) for _ in range(4))
        for linear in (self.query, self.key, self.value):
            normal(linear, 1.0)
        normal(self.output, last)

    def forward(self, x, memory, mask):
        def heads(y):
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        found = nn.functional.scaled_dot_product_attention(
            heads(self.query(x)), heads(self.key(memory)), heads(self.value(memory)), attn_mask=mask, dropout_p=dropout)
        return self.output(found.transpose(1, 2).flatten(-2))


def normal(linear, gain):
    """Normal weights of a deviation of gain / sqrt(inputs), no biases at first."""
    nn.init.normal_(linear.weight, std=gain / math.sqrt(linear.in_features))
    nn.init.zeros_(linear.bias)


class Block(nn.Module):
    """Norms before the parts."""

    def __init__(self, hidden, heads, dropout, last, cross):
        super().__init__()
        self.attention, self.attention_norm = Attention(hidden, heads, dropout, last), nn.LayerNorm(hidden)
        self.cross = Attention(hidden, heads, dropout, last) if cross else None
        self.cross_norm = nn.LayerNorm(hidden) if cross else None
        self.rise, self.fall, self.norm = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden), nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)
        normal(self.rise, 1.0)
        normal(self.fall, last)

    def forward(self, x, mask, memory=None, present=None):
        y = self.attention_norm(x)
        x = x + self.dropout(self.attention(y, y, mask))
        if self.cross is not None:
            x = x + self.dropout(self.cross(self.cross_norm(x), memory, present))
        return x + self.dropout(self.fall(nn.functional.gelu(self.rise(self.norm(x)))))


class Transformer(nn.Module):
    """The table of the replies' words also scores what comes next."""

    def __init__(self, tokens, hidden, layers, dropout, heads=4):
        super().__init__()
        self.hidden = hidden
        self.source, self.reply = nn.Embedding(tokens[0], hidden), nn.Embedding(tokens[1], hidden)
        for table in (self.source, self.reply):
            nn.init.normal_(table.weight, std=1 / math.sqrt(hidden))
        last = 1 / math.sqrt(2 * layers)
        def stack(cross):
            return nn.ModuleList(Block(hidden, heads, dropout, last, cross) for _ in range(layers))
        self.encoder, self.decoder = stack(False), stack(True)
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)

    def words(self, table, tokens):
        angles = torch.arange(tokens.shape[1])[:, None] / 10000 ** (torch.arange(0, self.hidden, 2) / self.hidden)
        positions = torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)
        return self.dropout(table(tokens) * math.sqrt(self.hidden) + positions)

    def read(self, sources):
        lengths = torch.tensor([len(row) for row in sources])
        x = self.words(self.source, padded(sources))
        present = (torch.arange(x.shape[1])[None] < lengths[:, None])[:, None, None]
        for block in self.encoder:
            x = block(x, present)
        return self.encoder_norm(x), present, torch.empty(len(sources), 0, dtype=torch.long)

    def say(self, reply, memory, present, before):
        reply = torch.cat([before, reply], 1)
        x = self.words(self.reply, reply)
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        for block in self.decoder:
            x = block(x, causal, memory, present)
        x = self.dropout(self.decoder_norm(x))[:, before.shape[1]:]
        return x @ self.reply.weight.T, reply

    def forward(self, sources, reply):
        return self.say(reply, *self.read(sources))[0]


@torch.no_grad()
def translate(model, sources):
    """The likeliest word, one after the other."""
    memory, present, states = model.read(sources)
    last = torch.full((len(sources), 1), START)
    said, ended = [[] for _ in sources], [False] * len(sources)
    for _ in range(min(2 * max(map(len, sources)) + 10, 200)):
        logits, states = model.say(last, memory, present, states)
        logits[..., [PAD, UNKNOWN, START]] = -math.inf
        last = logits.argmax(-1)
        for row, token in enumerate(last[:, 0].tolist()):
            ended[row] = ended[row] or token == END
            if not ended[row]:
                said[row].append(token)
        if all(ended):
            break
    return said


def bleu(said, expected):
    """Of the whole corpus, one reference each, without smoothing (Papineni et al. 2002), in per cent."""
    logarithms = 0.0
    for n in range(1, 5):
        found = total = 0
        for output, reference in zip(said, expected):
            grams = [collections.Counter(zip(*(row[at:] for at in range(n)))) for row in (output, reference)]
            found += sum((grams[0] & grams[1]).values())
            total += sum(grams[0].values())
        if found == 0:
            return 0.0
        logarithms += math.log(found / total) / 4
    length, reference = sum(map(len, said)), sum(map(len, expected))
    return 100 * math.exp(logarithms + min(0.0, 1 - reference / length))


@torch.no_grad()
def loss_of(model, pairs, batch=64):
    total = count = 0
    for at in range(0, len(pairs), batch):
        sources, replies = zip(*pairs[at:at + batch])
        logits = model(sources, padded([[START] + row for row in replies]))
        target = padded([row + [END] for row in replies])
        total += nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="sum").item()
        count += (target != PAD).sum().item()
    return total / count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--min-count", type=int, default=2)
    parser.add_argument("--longest", type=int, default=40)
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--german", action="store_true", help="in place of French")
    parser.add_argument("--both", action="store_true", help="one model for both directions, with tags")
    parser.add_argument("--transformer", action="store_true", help="in place of LSTMs")
    parser.add_argument("--sampling", type=float, default=0.0, help="the part of words that LSTMs say themselves at the end")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--vocabulary", action="store_true", help="print the words and stop")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    chance = random.Random(args.seed)

    language = "de" if args.german else "fr"
    train, valid, test = read_pairs(args.data, language)
    if 0 < args.pairs < len(train):
        train = [train[n * len(train) // args.pairs] for n in range(args.pairs)]
    tags = ["<en>", f"<{language}>"]
    if args.both:
        vocabularies = [vocabulary((text for side in (0, 1) for text in (pair[side] for pair in train)), args.min_count, tags)] * 2
    else:
        vocabularies = [vocabulary((pair[side] for pair in train), args.min_count) for side in (0, 1)]
    if args.vocabulary:
        print(json.dumps([list(known) for known in vocabularies], ensure_ascii=False))
        return
    longest = [args.longest, math.inf, math.inf]
    train, valid, test = (encode(part, vocabularies, most) for part, most in zip((train, valid, test), longest))
    if args.both:
        tags = [vocabularies[0][tag] for tag in tags]
        train, valid, test = (both_ways(part, tags) for part in (train, valid, test))

    kind = Transformer if args.transformer else Translator
    model = kind([len(known) for known in vocabularies], args.hidden, args.layers, args.dropout)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=args.lr)
    steps = args.epochs * math.ceil(len(train) / args.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, steps, cycle_momentum=False)
    start, done = time.time(), 0
    for _ in range(args.epochs):
        for sources, reply, target in batches(train, args.batch, chance):
            feeding = {"given": 1 - args.sampling * done / steps} if args.sampling else {}
            logits = model(sources, reply, **feeding)
            done += 1
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 10.0)
            optimizer.step()
            schedule.step()
    seconds = time.time() - start
    model.eval()
    said, expected = [], []
    test.sort(key=lambda pair: len(pair[0]))
    for at in range(0, len(test), 64):
        sources, replies = zip(*test[at:at + 64])
        said += translate(model, sources)
        expected += replies
    print(json.dumps({
        "seed": args.seed,
        "steps": steps,
        "parameters": sum(parameter.numel() for parameter in parameters),
        "seconds": round(seconds, 1),
        "valid_loss": loss_of(model, valid),
        "test_loss": loss_of(model, test),
        "test_bleu": bleu(said, expected),
    }))


if __name__ == "__main__":
    main()
