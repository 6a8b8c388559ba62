"""The official methods once more, plainly, and what a run of theirs is recorded as.

First they must reproduce the recorded official runs; then they record runs of settings that no
official run was recorded with, in the same format. Nothing here is shared with the package.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from plain_clip import PlainCLIP, tokens_of, unit
from torch import Tensor

MOMENTUM, DECAY, WARM = 0.9, 5e-4, 1e-5
GROUP, GATE_RATE = 8, 1e-6
DEEP_IMAGE = "image_encoder.transformer.resblocks.{}.VPT_shallow"
DEEP_TEXT = "text_encoder.transformer.resblocks.{}.VPT_shallow"
COUPLED = "prompt_learner.compound_prompt_projections.{}"


class PlainRun:
    """A method's run; ``record`` trains it and returns the record.

    Args:
        n, deep_text: text prompts and further blocks that get them; n 0: none.
        m, deep_image: the same of the image tower.
        phrase: the words before the name; the first n are learned.
        numbers: the method's own, by name.
    """

    def __init__(
        self, recipe, method, names, *, batch, lr, n=0, deep_text=0, m=0, deep_image=0,
        phrase="", csc=False, position="end", **numbers,
    ):  # fmt: skip
        spec = recipe.spec
        weights = {name: value.double() for name, value in recipe.state_dict().items()}
        self.clip = PlainCLIP(weights, spec["transformer_heads"], spec["vision_width"] // 64)
        self.recipe, self.method, self.names = recipe, method, names
        self.batch, self.lr, self.numbers = batch, lr, numbers
        self.n, self.deep_text, self.m, self.deep_image = n, deep_text, m, deep_image
        self.phrase = phrase or " ".join(["X"] * n)
        self.csc, self.position = csc, position
        shapes = self.shapes()
        self.init = {"prompt": shapes, "seed": 7, "std": 0.02}
        self.params = self.tensors(shapes, 7, 0.02)
        self.gates: dict[str, Tensor] = {}
        if method == "ProMetaR":
            sizes = {self.gate(name): math.prod(shape) for name, shape in shapes.items()}
            gates = {}
            for name, size in sizes.items():
                gates[f"{name}.0.weight"] = [size // GROUP, 2 * size]
                gates[f"{name}.1.weight"] = [size // GROUP, size // GROUP]
            self.init |= {"vnet": gates, "vnet_seed": 8, "vnet_std": 0.05}
            self.gates = self.tensors(gates, 8, 0.05)
        self.momentum: dict[str, Tensor] = {}

    def tensors(self, shapes: dict, seed: int, std: float) -> dict[str, Tensor]:
        values = self.recipe.init(shapes, seed, std)
        return {name: value.double().requires_grad_() for name, value in values.items()}

    def shapes(self) -> dict[str, list[int]]:
        text, image, n, m = self.clip.text_width, self.clip.image_width, self.n, self.m
        found = {}
        if n:
            found["prompt_learner.ctx"] = [len(self.names), n, text] if self.csc else [n, text]
        if self.method == "CoCoOp":
            hidden = self.clip.dim // 16
            for layer, (into, out) in enumerate([(self.clip.dim, hidden), (hidden, text)], 1):
                found[f"prompt_learner.meta_net.linear{layer}.weight"] = [out, into]
                found[f"prompt_learner.meta_net.linear{layer}.bias"] = [out]
        if self.method == "MaPLe":
            for name in ["prompt_learner.proj"] + [
                COUPLED.format(i) for i in range(self.deep_text)
            ]:
                found |= {f"{name}.weight": [image, text], f"{name}.bias": [image]}
            for i in range(self.deep_text):
                found[f"prompt_learner.compound_prompts_text.{i}"] = [n, text]
            return found
        if m:
            found["image_encoder.VPT"] = [m, image]
        found |= {DEEP_IMAGE.format(i): [m, image] for i in range(1, self.deep_image + 1)}
        return found | {DEEP_TEXT.format(i): [n, text] for i in range(1, self.deep_text + 1)}

    def features(self, images: Tensor, p: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return image ``(batch, dim)`` and text ``([batch,] classes, dim)``, not normalized."""
        context = p.get("prompt_learner.ctx")
        if self.method == "CoCoOp":
            image = self.clip.image(images)
            hidden = linear(unit(image), p, "prompt_learner.meta_net.linear1").clamp(min=0)
            shifts = linear(hidden, p, "prompt_learner.meta_net.linear2")
            return image, torch.stack([self.text(context + shift) for shift in shifts])
        if self.method == "MaPLe":
            deep = [p[f"prompt_learner.compound_prompts_text.{i}"] for i in range(self.deep_text)]
            prompts = [linear(context, p, "prompt_learner.proj")]
            prompts += [linear(each, p, COUPLED.format(i)) for i, each in enumerate(deep)]
            return self.clip.image(images, tuple(prompts)), self.text(context, tuple(deep))
        prompts = [p["image_encoder.VPT"]] if self.m else []
        prompts += [p[DEEP_IMAGE.format(i)] for i in range(1, self.deep_image + 1)]
        deep = tuple(p[DEEP_TEXT.format(i)] for i in range(1, self.deep_text + 1))
        return self.clip.image(images, tuple(prompts)), self.text(context, deep)

    def text(self, context: Tensor | None, deep: tuple[Tensor, ...] = ()) -> Tensor:
        rows = [
            self.clip.embedded(
                self.phrase, name, context[i] if self.csc else context, self.position
            )
            for i, name in enumerate(self.names)
        ]
        return self.clip.text(rows, deep)

    def by_hand(self, templates) -> Tensor:
        """The unit features of hand-written sentences: the mean of features as they are."""
        with torch.no_grad():
            embedding = self.clip.weights["token_embedding.weight"]
            names = [name.replace("_", " ") for name in self.names]
            sentences = [tokens_of(template(name)) for template in templates for name in names]
            features = self.clip.text([embedding[ids] for ids in sentences])
            mean = features.reshape(len(templates), len(names), -1).mean(0)
            return unit(mean)

    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        text = text if text.dim() == 3 else text.expand(len(image), -1, -1)
        return self.clip.scale * (unit(image)[:, None] * unit(text)).sum(-1)

    def regularized(self, images: Tensor, labels: Tensor, p: dict[str, Tensor]):
        """Cross-entropy, and the mean distances of text and image features to CLIP's own."""
        image, text = self.features(images, p)
        with torch.no_grad():
            teacher = unit(self.clip.image(images))
        ce = F.cross_entropy(self.logits(image, text), labels)
        distances = (unit(text) - self.teacher).abs().mean(), (unit(image) - teacher).abs().mean()
        self.log("cross_entropy", ce)
        for distance in distances:
            self.log("l1_loss", distance)
        return ce, *distances, image, text, teacher

    def log(self, name: str, value: Tensor) -> None:
        self.losses.append([name, value.detach().tolist()])

    def update(self, of: str, lr: float, grads: dict[str, Tensor]) -> None:
        """One step of SGD, recorded."""
        values = self.gates if of == "vnet" else self.params
        with torch.no_grad():
            for name, grad in grads.items():
                grad = grad + DECAY * values[name]
                if name in self.momentum:
                    grad = MOMENTUM * self.momentum[name] + grad
                self.momentum[name] = grad
                values[name] -= lr * grad
        probes = {"grads": self.probed(grads), "after": self.probed(values)}
        self.updates.append({"of": of, "lr": lr, **probes})

    def probed(self, values: dict[str, Tensor]) -> dict[str, list[float]]:
        return {name: self.recipe.probe(value) for name, value in values.items()}

    def record(self, command: list[str], draws: list | None = None, epochs: int = 5) -> dict:
        """Train for at most five epochs of one batch and return the record.

        Args:
            command: the official command line that it names.
            draws: what is drawn in each step, instead of new draws.
            epochs: over which the schedules run.
        """
        if self.method in ("PromptSRC", "ProMetaR"):
            import open_clip

            self.teacher = self.by_hand(open_clip.OPENAI_IMAGENET_TEMPLATES[:60])
        if self.method == "ProGrad":
            self.teacher = self.by_hand([lambda name: f"a photo of a {name}."])
        images, labels, tests = self.recipe.batches()
        ids = [tokens_of(f"{self.phrase} {n.replace('_', ' ')}.") for n in self.names]
        record = {"method": self.method, "batch": self.batch, "classnames": list(self.names)}
        record |= {"official_config": command, "init": self.init, "steps": []}
        record["tokenized_prompts"] = ids if self.n else None
        record["eval_logits_init"] = self.evaluated(tests)
        self.generator = np.random.default_rng(5)
        total = {name: torch.zeros_like(value) for name, value in self.params.items()}
        for index in range(min(epochs, len(images))):
            self.losses, self.updates, self.draws = [], [], []
            self.given = iter(draws[index]) if draws else None
            lr = (
                WARM if index == 0 else self.lr * (1 + math.cos(math.pi * (index - 1) / epochs)) / 2
            )
            step = {"ProGrad": self.prograd, "PromptSRC": self.promptsrc, "ProMetaR": self.prometar}
            batch = images[index, : self.batch].double(), labels[index, : self.batch]
            more = step.get(self.method, self.plain)(lr, *batch)
            record["steps"].append(more)
            more |= {"lr": lr, "losses": self.losses, "draws": self.draws, "updates": self.updates}
            if self.method == "PromptSRC":
                weights = [self.density(epoch) for epoch in range(1, epochs + 1)]
                more["gauss"] = weights[index] / sum(weights)
                with torch.no_grad():
                    for name, value in self.params.items():
                        total[name] += more["gauss"] * value
                more["gpa"] = self.probed(total)
        if self.method == "PromptSRC" and len(record["steps"]) == epochs:
            self.params = total
        record["final"] = self.probed(self.params)
        return record | {"eval_logits_final": self.evaluated(tests)}

    def evaluated(self, images: Tensor) -> list:
        with torch.no_grad():
            return self.logits(*self.features(images.double(), self.params)).tolist()

    def density(self, epoch: int) -> float:
        return math.exp(-(((epoch - self.numbers["mean"]) / self.numbers["std"]) ** 2) / 2)

    def plain(self, lr: float, images: Tensor, labels: Tensor) -> dict:
        ce = F.cross_entropy(self.logits(*self.features(images, self.params)), labels)
        self.log("cross_entropy", ce)
        self.update("model", lr, gradients(ce, self.params))
        return {"loss_summary": {"loss": ce.item()}}

    def prograd(self, lr: float, images: Tensor, labels: Tensor) -> dict:
        logits = self.logits(*self.features(images, self.params))
        with torch.no_grad():
            teacher = self.logits(self.clip.image(images), self.teacher)
        ce = F.cross_entropy(logits, labels)
        self.log("cross_entropy", ce)
        t = self.numbers["temperature"]
        kl = -(t**2) * ((teacher / t).softmax(1) * (logits / t).log_softmax(1)).sum(1).mean()
        general, specific = gradients(kl, self.params), gradients(ce, self.params)
        found = {}
        for name, g in specific.items():
            along = general[name] / general[name].norm()
            product = (g * along).sum()
            found[name] = g - self.numbers["strength"] * product * along if product < 0 else g
        self.update("model", lr, found)
        summary = {"xe_loss": ce.item(), "kl_loss": kl.item()}
        raw = [self.probed(general), self.probed(specific)]
        return {"loss_summary": summary, "raw_backward_grads": raw}

    def promptsrc(self, lr: float, images: Tensor, labels: Tensor) -> dict:
        ce, text, image, *features, teacher = self.regularized(images, labels, self.params)
        student = self.logits(*features).log_softmax(1)
        target = self.logits(teacher, self.teacher).log_softmax(1)
        kl = (target.exp() * (target - student)).sum()
        self.log("kl_div", kl)
        weighted = self.numbers["text"] * text + self.numbers["image"] * image
        loss = ce + weighted + kl / student.numel()
        self.update("model", lr, gradients(loss, self.params))
        return {"loss_summary": {"loss": loss.item()}}

    def gate(self, name: str) -> str:
        kind = "vision" if name.startswith("image") else "text"
        return f"linear_{kind}_gamma.{name.split('.')[3] if 'resblocks' in name else 0}"

    def modulated(self, terms, p: dict[str, Tensor], twice: bool) -> dict[str, Tensor]:
        ce, text, image, *_ = terms
        g, found = gradients(ce, p, twice), {}
        r = {"text": gradients(50 * text, p, twice), "vision": gradients(20 * image, p, twice)}
        for name, value in g.items():
            gate = self.gate(name)
            own = r["vision" if "vision" in gate else "text"][name]
            z = torch.cat([value.flatten(), own.flatten()])
            w1, w2 = self.gates[f"{gate}.0.weight"], self.gates[f"{gate}.1.weight"]
            gamma = torch.sigmoid(w2 @ (w1 @ z)).repeat_interleave(GROUP).reshape(value.shape)
            found[name] = value + gamma * own
        return found

    def drawn(self, name: str, make) -> list:
        values = next(self.given)[1] if self.given else make()
        self.draws.append([name, values])
        return values

    def prometar(self, lr: float, images: Tensor, labels: Tensor) -> dict:
        terms = self.regularized(images, labels, self.params)
        found = self.modulated(terms, self.params, twice=False)
        self.update("model", lr, {name: value.detach() for name, value in found.items()})
        present = labels.unique()
        if len(present) == 1:
            return {"loss_summary": {"loss": 0.0}}
        order = self.drawn("randperm", lambda: self.generator.permutation(len(present)).tolist())
        query = labels == present[order[0]]
        size, others = int(query.sum()), int((~query).sum())
        mix = self.drawn("Beta.sample", lambda: self.generator.beta(0.5, 0.5, size).tolist())
        pick = self.drawn("randint", lambda: self.generator.integers(0, others, size).tolist())
        mix = torch.tensor(mix, dtype=torch.float64)

        twice = not self.numbers.get("first_order", False)
        terms = self.regularized(images[~query], labels[~query], self.params)
        step = self.modulated(terms, self.params, twice)
        adapted = {k: v - self.numbers["adapt_lr"] * step[k] for k, v in self.params.items()}
        own, text = self.features(images[query], adapted)
        other, _ = self.features(images[~query][pick], adapted)
        logits = self.logits(mix[:, None] * own + (1 - mix)[:, None] * other, text)
        here = F.cross_entropy(logits, labels[query], reduction="none")
        there = F.cross_entropy(logits, labels[~query][pick], reduction="none")
        self.log("cross_entropy", here)
        self.log("cross_entropy", there)
        loss = self.numbers["lr_ratio"] * (mix * here + (1 - mix) * there).mean()
        both = gradients(loss, self.params | self.gates)
        self.update("model", lr, {name: both[name] for name in self.params})
        self.update("vnet", GATE_RATE, {name: both[name] for name in self.gates})
        return {"loss_summary": {"loss": loss.item()}}


def linear(x: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def gradients(loss: Tensor, p: dict[str, Tensor], twice: bool = False) -> dict[str, Tensor]:
    found = torch.autograd.grad(
        loss, list(p.values()), retain_graph=True, create_graph=twice, allow_unused=True
    )
    zero = (torch.zeros_like(value) for value in p.values())
    return {
        k: next(zero) if g is None else (next(zero), g)[1] for k, g in zip(p, found, strict=True)
    }
