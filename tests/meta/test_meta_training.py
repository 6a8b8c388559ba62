"""Meta-gradients against finite differences, the loop, and that it resumes to the bit."""

import json
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from softprompt.core import UserError
from softprompt.core.base.seeding import derive
from softprompt.core.base.signals import Terminated
from softprompt.core.clip.prompted import prompts_images
from softprompt.core.meta import loop
from softprompt.core.meta.episodes import Episode, Episodes, Part
from softprompt.core.meta.loop import Outer, _step, meta_fit
from softprompt.core.meta.objective import RATES, Objective, calibrated_rate, gate_target
from softprompt.core.meta.regulator import Regulator, token_rows
from softprompt.core.meta.tasks import Task, TaskPart

NAMES = ("song bird", "jet_airplane", "dog", "container ship", "tree", "old red boat")


class Pairs:
    """Noise pictures, each known by its number; reading is counted."""

    def __init__(self):
        self.read = []

    def image(self, index: int) -> Image.Image:
        self.read.append(index)
        noise = np.random.default_rng(index).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        return Image.fromarray(noise)


class Sampler:
    """Two-way tasks of 2 + 2 + 2 pictures, with the contract of ``TaskSampler``."""

    period = 200  # of distinct tasks

    def draw(self, index: int) -> Task:
        index %= self.period
        first = 12 * index
        names = [NAMES[(index + i) % len(NAMES)] for i in range(4)]

        def part(offset: int, names) -> TaskPart:
            pairs = tuple(first + offset + i for i in range(4))
            return TaskPart(pairs, (0, 0, 1, 1), tuple(names))

        return Task(part(0, names[:2]), part(4, names[:2]), part(8, names[2:]))


def transform(image: Image.Image) -> torch.Tensor:
    from torchvision.transforms.functional import pil_to_tensor

    return pil_to_tensor(image).float() / 128 - 1 + 0.01 * torch.randn(())


def build_episodes(clip, learner, **options) -> Episodes:
    generator = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(2400, 32, generator=generator), dim=-1)
    anew = transform if prompts_images(learner, clip) else None
    found = Episodes(Sampler(), Pairs(), SimpleNamespace(image=features), transform=anew, **options)
    return found


def exactly(episode: Episode) -> Episode:
    def double(part: Part) -> Part:
        images = None if part.images is None else part.images.double()
        return part._replace(images=images, features=part.features.double())

    return Episode(*(double(part) for part in episode))


def build_objective(model, moved: float = 0.1, form: str = "id_rms", **options) -> Objective:
    """An objective whose regulator is not at its start, where it has kinks."""
    torch.manual_seed(0)
    clip, learner = model.clip, model.learner
    regulator = Regulator(token_rows(learner, clip), clip.dim, form=form, rank=8)
    with torch.no_grad():
        for value in regulator.parameters():
            value += moved * torch.randn_like(value)
    return Objective(clip, learner, regulator, **{"lr": 0.05, **options})


@pytest.fixture
def exact(make_clip):
    torch.set_default_dtype(torch.float64)
    yield make_clip(torch.float64, layers=3)
    torch.set_default_dtype(torch.float32)


def check(objective: Objective, episode: Episode, value, names, count: int = 3) -> None:
    """Compare some of the meta-gradients with central differences of ``value()``."""
    _, prompts, regulator = objective.gradients(episode)
    found = {**prompts, **regulator}
    params = {**dict(objective.learner.named_parameters())}
    params |= dict(objective.regulator.named_parameters())
    generator = torch.Generator().manual_seed(1)
    checked = 0
    for name in names:
        direction = torch.randn(params[name].shape, generator=generator, dtype=torch.float64)
        step = 1e-5 / direction.norm()
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                params[name] += sign * step * direction
            ends.append(value())
            with torch.no_grad():
                params[name] -= sign * step * direction
        numeric = (ends[0] - ends[1]) / (2 * step.item())
        exact_value = (found[name] * direction).sum().item()
        assert numeric == pytest.approx(exact_value, rel=2e-4, abs=1e-7), name
        checked += abs(exact_value) > 1e-6
    assert checked >= min(count, len(names))


@pytest.mark.parametrize("steps", [1, 2])
def test_second_order_meta_gradients(any_learner, steps, exact, make_model):
    model = make_model(any_learner, exact)
    objective = build_objective(model, steps=steps, second_order=True)
    (episode,) = map(exactly, build_episodes(exact, model.learner).draw([3]))
    names = [*model.params()][:4] + [n for n, _ in objective.regulator.named_parameters()][::3]
    check(objective, episode, lambda: objective.evaluate(episode).loss, names)


@pytest.mark.parametrize("form", ["id_rms", "supmer", "film"])
@pytest.mark.parametrize("learner", ["coop", "ivlp", "maple"])
def test_first_order_is_exact_for_the_regulator(learner, form, exact, make_model):
    """With one inner step the raw gradient does not depend on the regulator."""
    model = make_model(learner, exact)
    objective = build_objective(model, form=form)
    (episode,) = map(exactly, build_episodes(exact, model.learner).draw([3]))
    names = [name for name, _ in objective.regulator.named_parameters()]
    check(objective, episode, lambda: objective.evaluate(episode).loss, names)


@pytest.mark.parametrize("learner", ["coop", "cocoop", "vpt", "ivlp", "maple"])
def test_first_order_holds_the_inner_gradients_fixed(learner, exact, make_model, monkeypatch):
    model = make_model(learner, exact)
    objective = build_objective(model)
    (episode,) = map(exactly, build_episodes(exact, model.learner).draw([3]))
    _, first, _ = objective.gradients(episode)
    fixed = objective.inner_gradients(episode.support, model.params())
    monkeypatch.setattr(objective, "inner_gradients", lambda *_: fixed)
    check(objective, episode, lambda: objective.evaluate(episode).loss, [*model.params()][:4])
    monkeypatch.undo()
    objective.second_order = True
    _, second, _ = objective.gradients(episode)
    assert not torch.allclose(next(iter(first.values())), next(iter(second.values())))


def test_orders_agree_on_the_regulator_with_one_step_and_differ_with_three(exact, make_model):
    model = make_model("ivlp", exact)
    (episode,) = map(exactly, build_episodes(exact, model.learner).draw([3]))

    def regulators(steps: int) -> list[torch.Tensor]:
        found = []
        for second_order in (False, True):
            objective = build_objective(model, lr=0.5, steps=steps, second_order=second_order)
            _, _, own = objective.gradients(episode)
            found.append(torch.cat([g.flatten() for g in own.values()]))
        return found

    assert torch.allclose(*regulators(1), rtol=1e-9)
    first, second = regulators(3)
    assert (first - second).norm() > 1e-3 * second.norm()


@pytest.mark.parametrize("second_order", [False, True])
def test_the_meta_gradient_of_tasks_is_the_mean_of_single_ones(second_order, clip, make_model):
    model = make_model("ivlp", clip)
    objective = build_objective(model, second_order=second_order)
    episodes = list(build_episodes(clip, model.learner).draw([0, 1, 2]))
    singles = [objective.gradients(episode) for episode in episodes]
    modules = {"learner": objective.learner, "regulator": objective.regulator}
    stopped = {
        name: SimpleNamespace(
            zero_grad=lambda: None,
            step=lambda: None,
            param_groups=[{"params": list(module.parameters())}],
        )
        for name, module in modules.items()
    }
    outer = Outer(tasks=3, max_norm=1e9)
    outcome = _step(objective, outer, stopped, iter(episodes))
    assert outcome.loss == pytest.approx(sum(single[0].loss for single in singles) / 3)
    for position, module in enumerate(modules.values(), 1):
        for name, value in module.named_parameters():
            mean = sum(single[position][name] for single in singles) / 3
            assert torch.allclose(value.grad, mean, rtol=1e-4, atol=1e-8), name
            value.grad = None


def test_without_inner_steps_it_is_plain_training(clip, make_model):
    model = make_model("coop", clip)
    objective = build_objective(model, form="none", steps=0)
    (episode,) = build_episodes(clip, model.learner).draw([0])
    outcome, prompts, regulator = objective.gradients(episode)
    losses = [objective.loss(part, model.params())[0] for part in episode]
    mean = sum(losses) / 3
    assert outcome.loss == pytest.approx(mean.item(), rel=1e-5)
    (expected,) = torch.autograd.grad(mean, [model.learner.context])
    assert torch.allclose(prompts["context"], expected, atol=1e-7)
    assert regulator == {}


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_weight_of_other_classes(weight, clip, make_model):
    model = make_model("coop", clip)
    objective = build_objective(model, other_weight=weight)
    (episode,) = build_episodes(clip, model.learner).draw([0])
    part = episode.other if weight else episode.same
    adapted = objective.adapt(episode, model.params(), False)
    assert objective.gradients(episode)[0].loss == pytest.approx(
        objective.loss(part, adapted)[0].item()
    )


def test_the_gate_can_be_supervised(clip, make_model):
    model = make_model("ivlp", clip)
    (episode,) = build_episodes(clip, model.learner).draw([0])
    free, led = (build_objective(model, gate_weight=weight) for weight in (0.0, 0.1))
    _, _, without = free.gradients(episode)
    _, _, with_it = led.gradients(episode)
    changed = {n for n in without if not torch.equal(without[n], with_it[n])}
    assert changed and all(".gate." in name for name in changed)
    one = {name: torch.ones_like(value) for name, value in model.params().items()}
    other = {name: -value for name, value in one.items()}
    alike = episode._replace(other=episode.support)
    assert gate_target(alike, one, one).item() == pytest.approx(1, abs=1e-6)
    assert gate_target(alike, one, other).item() == pytest.approx(0.5, abs=1e-6)


def test_an_open_gate_is_meta_learning_without_a_regulator(clip, make_model):
    model = make_model("coop", clip)
    (episode,) = build_episodes(clip, model.learner).draw([0])
    opened, none = build_objective(model), build_objective(model, form="none")
    for function in opened.regulator.functions.values():
        function.gate.out.bias.data.fill_(1000.0)
    a, b = (o.gradients(episode) for o in (opened, none))
    assert a[0].loss == b[0].loss and torch.equal(a[1]["context"], b[1]["context"])


def test_episodes_depend_on_the_index_alone_and_read_each_picture_once(clip, make_model):
    learner = make_model("ivlp", clip).learner
    episodes = build_episodes(clip, learner, seed=4)
    whole = list(episodes.draw(range(3)))
    assert sorted(episodes.tasks.pairs.read) == list(range(36))
    (again,) = build_episodes(clip, learner, seed=4).draw([2])
    (other,) = build_episodes(clip, learner, seed=5).draw([2])
    assert torch.equal(whole[2].support.images, again.support.images)
    assert not torch.equal(other.support.images, again.support.images)
    numbers = [12 * 2 + i for i in range(4)]
    assert torch.equal(again.support.features, episodes.features[numbers])
    assert torch.equal(again.condition, again.support.features.mean(0))
    text_only = build_episodes(clip, make_model("coop", clip).learner)
    (episode,) = text_only.draw([0])
    assert episode.support.images is None


def test_a_names_fixed_sentence_is_encoded_once(clip, make_model, monkeypatch):
    learner = make_model("vpt", clip).learner
    objective = build_objective(make_model("vpt", clip))
    seen = []
    encode = clip.encode_in_chunks
    monkeypatch.setattr(
        clip, "encode_in_chunks", lambda names, t: seen.extend(names) or encode(names, t)
    )
    clip._class_features.clear()
    for episode in build_episodes(clip, learner).draw(range(6)):
        objective.evaluate(episode)
    assert sorted(seen) == sorted(NAMES)


def test_the_inner_rate_is_the_smallest_that_helps(clip, make_model):
    model = make_model("ivlp", clip)
    objective = build_objective(model, form="none")
    episodes = list(build_episodes(clip, model.learner).draw(range(3)))
    rate = calibrated_rate(objective, episodes)
    assert rate in RATES

    def left(rate: float) -> float:
        before = after = 0.0
        for episode in episodes:
            raw = objective.inner_gradients(episode.support, model.params())
            moved = {name: v - rate * raw[name] for name, v in model.params().items()}
            before += objective.loss(episode.support, model.params())[0].item()
            after += objective.loss(episode.support, moved)[0].item()
        return after / before

    enough = [r for r in RATES if left(r) <= 0.9]
    assert rate == (enough[0] if enough else min(RATES, key=left))


OUTER = {"steps": 6, "tasks": 2, "val_freq": 2, "val_tasks": 3, "prompt_lr": 0.01}


def fit(
    folder, clip, make_model, learner: str = "ivlp", cut: int = 0, period: int = 200, **options
):
    """Meta-train on ``period`` distinct tasks; ``cut`` interrupts after so many."""
    folder.mkdir(exist_ok=True)
    model = make_model(learner, clip)
    objective = build_objective(model, moved=0.0)
    training = build_episodes(clip, model.learner, seed=derive(1, "training"))
    training.tasks.sampler.period = period
    if cut:
        draw = training.tasks.sampler.draw

        def interrupted(index: int) -> Task:
            if index >= cut:
                raise KeyboardInterrupt
            return draw(index)

        training.tasks.sampler.draw = interrupted
    outer = Outer(**{**OUTER, **options})
    progress = meta_fit(objective, outer, training, build_episodes(clip, model.learner), folder)
    return objective, progress


@pytest.mark.parametrize("learner", ["coop", "ivlp"])
def test_an_interrupted_run_goes_on_to_the_same_bits(learner, clip, make_model, tmp_path):
    whole, progress = fit(tmp_path / "whole", clip, make_model, learner)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", clip, make_model, learner, cut=7)
    lines = (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 3  # the third step is done again
    resumed, again = fit(tmp_path / "cut", clip, make_model, learner)
    for a, b in ((whole.learner, resumed.learner), (whole.regulator, resumed.regulator)):
        other = b.state_dict()
        assert all(torch.equal(value, other[name]) for name, value in a.state_dict().items())
    assert progress.validations == again.validations
    files = [(tmp_path / run / "metrics.jsonl").read_text() for run in ("whole", "cut")]
    assert files[0] == files[1]
    assert len(files[0].splitlines()) == 6
    assert list((tmp_path / "cut" / "tensorboard").iterdir())


def test_a_state_holds_modules_optimizers_and_progress_by_name(clip, make_model, tmp_path):
    """As it always did: an interrupted meta-training of an earlier version continues."""
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, clip, make_model, "coop", cut=7)
    state = torch.load(tmp_path / "resume.pt", weights_only=True)
    assert set(state) == {"modules", "optimizers", "progress"}
    assert set(state["modules"]) == set(state["optimizers"]) == {"learner", "regulator"}
    assert set(state["progress"]) == {"step", "seconds", "best_step", "validations", "best"}
    assert state["progress"]["step"] == 2


def test_the_best_validated_state_is_kept(clip, make_model, tmp_path):
    objective, progress = fit(tmp_path, clip, make_model, prompt_lr=5.0, regulator_lr=1.0)
    losses = {found["step"]: found["loss"] for found in progress.validations}
    assert list(losses) == [0, 2, 4, 6]
    assert losses[progress.best_step] == min(losses.values())
    episodes = build_episodes(clip, objective.learner).draw(range(3))
    mean = sum(objective.evaluate(episode).loss for episode in episodes) / 3
    assert mean == pytest.approx(losses[progress.best_step], rel=1e-6)


def test_it_stops_where_validation_gets_no_better(clip, make_model, tmp_path):
    still = {"prompt_lr": 0.0, "regulator_lr": 0.0, "val_freq": 1}
    _, progress = fit(tmp_path, clip, make_model, "coop", patience=2, **still)
    assert (progress.step, progress.best_step) == (2, 0)
    (tmp_path / "on").mkdir()
    _, progress = fit(tmp_path / "on", clip, make_model, "coop", patience=0, **still)
    assert progress.step == OUTER["steps"]


def test_both_are_learned_and_the_loss_falls(clip, make_model, tmp_path):
    objective, progress = fit(
        tmp_path, clip, make_model, "coop", period=3, steps=30, val_freq=10, regulator_lr=0.01
    )
    fresh = make_model("coop", clip).learner
    assert not torch.equal(objective.learner.context, fresh.context)
    assert all(f.up[0].abs().sum() > 0 for f in objective.regulator.functions.values())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["loss"] for line in lines[-5:]) < sum(line["loss"] for line in lines[:5])
    assert lines[-1]["lr"] < lines[0]["lr"] == OUTER["prompt_lr"]
    assert progress.step == 30


def test_clip_is_left_as_it_was(clip, make_model, tmp_path):
    before = {name: value.clone() for name, value in clip.model.state_dict().items()}
    fit(tmp_path, clip, make_model, steps=2)
    assert all(torch.equal(v, before[name]) for name, v in clip.model.state_dict().items())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"tasks": 0}, "META.OUTER.TASKS is 0, but must be at least 1"),
        ({"steps": -1}, "META.OUTER.STEPS is -1, but must be at least 1"),
    ],
)
def test_outer_options_have_ranges(options, line):
    with pytest.raises(UserError, match=line):
        Outer(**options)


def test_inner_options_have_ranges(clip, make_model):
    model = make_model("coop", clip)
    for options in ({"lr": -1.0}, {"steps": -1}, {"other_weight": 1.5}):
        with pytest.raises(UserError, match="META.INNER"):
            build_objective(model, **options)


def test_a_loss_that_is_not_finite_ends_in_a_line(clip, make_model, tmp_path):
    with pytest.raises(UserError, match="'learner.context' is not finite after step 1; none is"):
        fit(tmp_path, clip, make_model, "coop", prompt_lr=float("inf"))


@pytest.mark.parametrize("options", [{}, {"checkpoint_steps": 1}])
def test_a_signal_saves_the_step_and_goes_on_to_the_same_bits(
    options, clip, make_model, tmp_path, monkeypatch
):
    whole, progress = fit(tmp_path / "whole", clip, make_model, "coop")
    cut, check, count = tmp_path / "cut", loop.check_tensors, iter(range(1, 100))

    def send(*arguments):
        if next(count) == 3:  # validations are after every second step
            if options:
                raise KeyboardInterrupt  # what is saved of it was saved before
            os.kill(os.getpid(), signal.SIGTERM)
        return check(*arguments)

    ended = KeyboardInterrupt if options else Terminated
    with monkeypatch.context() as patched, pytest.raises(ended):
        patched.setattr(loop, "check_tensors", send)
        fit(cut, clip, make_model, "coop", **options)
    state = torch.load(cut / "resume.pt", weights_only=True)
    assert state["progress"]["step"] == (2 if options else 3)
    resumed, again = fit(cut, clip, make_model, "coop")
    assert progress.validations == again.validations
    for name, value in whole.learner.state_dict().items():
        assert torch.equal(value, resumed.learner.state_dict()[name])
    assert (cut / "metrics.jsonl").read_bytes() == (
        tmp_path / "whole" / "metrics.jsonl"
    ).read_bytes()


def test_prompts_that_diverge_in_a_step_are_named(clip, make_model, tmp_path, monkeypatch):
    step = loop._step

    def spoil(objective, *arguments):
        outcome = step(objective, *arguments)
        with torch.no_grad():
            objective.learner.context[0, 0] = torch.nan
        return outcome

    monkeypatch.setattr(loop, "_step", spoil)
    says = "the trained tensor 'learner.context' is not finite after step 1; none is saved; a small"
    with pytest.raises(UserError, match=says):
        fit(tmp_path, clip, make_model, "coop")


@pytest.mark.parametrize("content", ["cut", "text", "list", "keys", "other"])
def test_a_damaged_state_is_one_line(content, clip, make_model, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, clip, make_model, "coop", cut=7)
    file = tmp_path / "resume.pt"
    state = torch.load(file, weights_only=True)
    if content == "cut":
        file.write_bytes(file.read_bytes()[:-300])
    elif content == "text":
        file.write_text("hello")
    else:
        state["modules"]["learner"] = {}
        torch.save({"list": [1], "keys": {}, "other": state}[content], file)
    with pytest.raises(UserError, match=f"{file} cannot be gone on from .*; delete it to meta-tr"):
        fit(tmp_path, clip, make_model, "coop")
