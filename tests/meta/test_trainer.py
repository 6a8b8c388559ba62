"""The trainer ``gram``: its start, its regulated steps, and the files it takes or refuses."""

import json

import pytest
import torch

from softprompt.core import UserError
from softprompt.core.base.registry import PROMPT_LEARNERS, TRAINERS
from softprompt.core.clip.build import build_clip
from softprompt.core.config.load import load_config
from softprompt.core.config.options import options_from
from softprompt.core.meta import learned
from softprompt.core.meta.forms import FORMS
from softprompt.core.meta.regulator import Regulator, token_rows

LEARNERS = ["coop", "cocoop", "vpt", "ivlp", "maple"]
OPENED = 1000.0  # bias of a gate that lets the whole raw gradient pass


@pytest.fixture
def make_file(clip, make_model, tmp_path):
    """Write what a meta-training of a learner could end with; return the file."""

    def make_file(
        learner: str = "coop", form: str = "id_rms", bias: float = 0.0, on=None, **options
    ):
        model = make_model(learner, on or clip)
        torch.manual_seed(5)
        rows = token_rows(model.learner, model.clip)
        regulator = Regulator(rows, model.clip.dim, form=form, **options)
        with torch.no_grad():
            for value in (*model.learner.parameters(), *regulator.parameters()):
                value += 0.1 * torch.randn_like(value)
            for function in regulator.functions.values():
                if hasattr(function, "gate"):
                    function.gate.out.bias += bias
        file = tmp_path / f"{learner}-{form}.safetensors"
        learned.save(file, model.learner, regulator, model.clip, {"options": {}, "step": 7})
        return file

    return make_file


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_start_is_that_of_the_file(learner, clip, make_file, make_model, make_trainer):
    file = make_file(learner)
    trainer = make_trainer("gram", make_model(learner, clip), file=str(file))
    saved = learned.load(str(file)).prompts
    params = trainer.model.params()
    assert params.keys() == saved.keys()
    assert all(torch.equal(params[name], saved[name]) for name in saved)
    assert f"prompts start from {file.name} (meta-training step 7)" in trainer.note
    assert "gradients are regulated (form id_rms)" in trainer.note


@pytest.mark.parametrize("per_layer", [False, True])
@pytest.mark.parametrize("learner", LEARNERS)
def test_a_step_follows_the_regulated_gradient(
    learner, per_layer, clip, batch, make_file, make_model, make_trainer, monkeypatch
):
    file = make_file(learner, per_layer=per_layer)
    trainer = make_trainer("gram", make_model(learner, clip), file=str(file))
    followed = {}
    monkeypatch.setattr(trainer, "update", followed.update)
    terms = trainer.step(batch)
    model = trainer.model
    loss = torch.nn.functional.cross_entropy(model(batch.images).logits, batch.labels)
    raw = torch.autograd.grad(loss, list(model.params().values()))
    raw = dict(zip(model.params(), raw, strict=True))
    regulator = learned.load(str(file)).build_regulator(model.learner, clip)
    condition = model.zero_shot_image(batch.images).mean(0)
    assert regulator.per_layer == per_layer
    expected = regulator(raw, condition)
    for name, value in followed.items():
        assert torch.allclose(value, expected[name], rtol=1e-4, atol=1e-8), name
        assert torch.equal(value, raw[name]) == (name not in regulator.keys), name
    assert terms["gate"] == pytest.approx(regulator.openness(condition).item())
    assert terms["loss"].item() == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize("form", ["id_rms", "supmer", "none"])
@pytest.mark.parametrize("learner", LEARNERS)
def test_an_open_gate_is_the_host_bit_for_bit(
    learner, form, clip, batch, make_file, make_model, make_trainer
):
    file = make_file(learner, form, bias=OPENED)
    host = make_model(learner, clip)
    learned.load(str(file)).start(host.learner, clip)
    regulated = make_model(learner, clip)
    trainers = [
        make_trainer("erm", host),
        make_trainer("gram", regulated, file=str(file)),
    ]
    for trainer in trainers:
        for _ in range(4):
            trainer.step(batch)
    a, b = (trainer.model.params() for trainer in trainers)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_without_a_file_it_is_the_host_and_says_so(clip, batch, make_model, make_trainer):
    trainers = [make_trainer(name, make_model("coop", clip)) for name in ("erm", "gram")]
    for trainer in trainers:
        for _ in range(3):
            trainer.step(batch)
    a, b = (trainer.model.params()["context"] for trainer in trainers)
    assert torch.equal(a, b)
    assert "TRAINER.GRAM.FILE is not set" in trainers[1].note


def test_start_and_regulator_can_be_used_alone(clip, batch, make_file, make_model, make_trainer):
    file = str(make_file())
    start = make_trainer("gram", make_model("coop", clip), file=file, regulate=False)
    assert start.regulator is None and "not regulated" in start.note
    own = make_trainer("gram", make_model("coop", clip), file=file, initialize=False)
    assert torch.equal(own.model.params()["context"], make_model("coop", clip).params()["context"])
    assert "prompts do not start" in own.note
    assert "gate" in own.step(batch)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "none"])
def test_the_regulator_is_not_trained(form, clip, batch, make_file, make_model, make_trainer):
    file = str(make_file("ivlp", form))
    trainer = make_trainer("gram", make_model("ivlp", clip), file=file)
    for _ in range(5):
        trainer.step(batch)
    saved = learned.load(file).regulator
    now = trainer.regulator.state_dict()
    assert now and all(torch.equal(now[name], saved[name]) for name in saved)
    assert not any(value.requires_grad for value in trainer.regulator.parameters())


def test_single_images_are_regulated_by_a_running_mean(
    clip, make_batch, make_file, make_model, make_trainer, monkeypatch
):
    file = str(make_file())
    trainer = make_trainer("gram", make_model("coop", clip), file=file)
    images = make_batch().images
    seen = []
    forward = trainer.regulator.forward
    monkeypatch.setattr(
        trainer.regulator, "forward", lambda g, h: seen.append(h.clone()) or forward(g, h)
    )
    batch = make_batch()
    features = trainer.model.zero_shot_image(images)
    for row in range(3):
        trainer.step(type(batch)(images[row : row + 1], batch.labels[row : row + 1]))
    weights = torch.tensor([0.81, 0.9, 1.0])
    expected = (weights[:, None] * features[:3]).sum(0) / weights.sum()
    assert torch.allclose(seen[0], features[0], atol=1e-6)
    assert torch.allclose(seen[2], expected, atol=1e-6)


def test_a_file_of_another_learner_backbone_or_size_is_refused(
    clip, make_clip, make_file, make_model, make_trainer
):
    file = str(make_file("coop"))
    for learner in ("ivlp", "cocoop"):
        with pytest.raises(UserError, match=f"for PROMPT.NAME coop, not {learner}"):
            make_trainer("gram", make_model(learner, clip), file=file)
    other = make_clip(layers=4)
    with pytest.raises(UserError, match="meta-trained on the backbone small"):
        make_trainer("gram", make_model("coop", other), file=file)
    with pytest.raises(UserError, match="coop-id_rms"):
        make_trainer("gram", make_model("coop", clip, n_ctx=3), file=file)


@pytest.mark.parametrize("name", ["no_such_file", "prompts.safetensors", "text.safetensors"])
def test_what_is_no_file_of_meta_training_is_refused(
    name, clip, tmp_path, make_model, make_trainer
):
    from safetensors.torch import save_file

    save_file({"context": torch.zeros(4, 48)}, tmp_path / "prompts.safetensors")
    (tmp_path / "text.safetensors").write_text("not one")
    with pytest.raises(UserError, match=name):
        make_trainer("gram", make_model("coop", clip), file=str(tmp_path / name))


BROKEN = {
    "no JSON": ("{", "its header is no JSON"),
    "list": ([1], "it is list, not dict"),
    "future": ({"format": 2}, r"has format 2, .* needs a newer softprompt"),
    "no learner": ({"format": 1}, "it has no 'learner'"),
    "regulator": ({"regulator": {"form": "id_rms", "more": 1}}, "its 'regulator' has .*'more'"),
    "nan": (torch.nan, "its 'prompts.context' is not finite everywhere"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_damaged_file_is_one_line(kind, clip, make_file, make_model, make_trainer):
    from safetensors import safe_open
    from safetensors.torch import save_file

    file = make_file("coop")
    with safe_open(file, "pt") as opened:
        header = json.loads(opened.metadata()[learned.HEADER])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    broken, says = BROKEN[kind]
    if kind == "regulator":
        broken = header | broken
    if kind == "nan":
        tensors["prompts.context"][0, 0] = broken
        broken = header
    text = broken if isinstance(broken, str) else json.dumps(broken)
    save_file(tensors, file, metadata={learned.HEADER: text})
    with pytest.raises(UserError, match=says) as raised:
        make_trainer("gram", make_model("coop", clip), file=str(file))
    assert str(file) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("learner", ["unigram", *LEARNERS])
def test_the_configs_for_the_embedded_backbone_use_a_file_of_the_package(learner, root):
    name = "tiny" if learner == "unigram" else f"{learner}_tiny"
    cfg = load_config(str(root / "configs" / "gram" / f"{name}.yaml"))
    assert cfg.TRAINER.GRAM.FILE in learned.embedded()
    clip = build_clip("tiny", "tiny")
    classes = ("one", "other")
    prompts = PROMPT_LEARNERS[cfg.PROMPT.NAME](clip, classes, **options_from(cfg, "PROMPT"))
    from softprompt.core.clip.prompted import PromptedCLIP

    model = PromptedCLIP(clip, prompts, classes)
    trainer = TRAINERS["gram"](model, **options_from(cfg, "TRAINER"))
    assert trainer.regulator is not None
    header = learned.load(cfg.TRAINER.GRAM.FILE).header
    assert header["step"] > 0
    assert {k: v for k, v in header["options"].items() if k != "ctx_init"} == {
        k: v for k, v in options_from(cfg, "PROMPT").items() if k != "ctx_init"
    }
