"""Every registered learner under every registered trainer: a plugin needs no test of its own."""

import pytest
import torch

from softprompt.core.base.errors import UserError
from softprompt.core.clip.prompted import PromptedCLIP
from softprompt.core.config.load import load_config
from softprompt.core.config.schema import defaults
from softprompt.core.data.batch import Batch
from softprompt.core.engine import checkpoint
from softprompt.core.engine.build import build_learner, build_trainer
from softprompt.core.engine.contracts import check_prepared
from softprompt.core.engine.optim import Optim
from softprompt.core.engine.reach import Reach
from softprompt.core.engine.session import Session
from softprompt.core.engine.shared import Shared


def weights(clip) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in clip.model.state_dict().items()}


def header_of(learner: str, trainer: str) -> dict:
    """Return what a prompt file must say of a training."""
    classes = {"classnames": [], "backbone": {"name": "small"}}
    return {"learner": learner, "trainer": trainer, "config": {}, **classes}


def test_any_learner_trains_under_any_trainer(
    any_learner, any_trainer, clip, batch, make_model, make_trainer, tmp_path
):
    frozen = weights(clip)
    model = make_model(any_learner, clip)
    method = make_trainer(any_trainer, model, epochs=5)
    torch.manual_seed(0)
    before = torch.nn.functional.cross_entropy(model(batch.images).logits, batch.labels)
    for epoch in range(5):
        method.start_epoch(epoch)
        for value in method.step(batch).values():
            assert torch.isfinite(value)
        method.after_epoch(epoch)
    after = torch.nn.functional.cross_entropy(model(batch.images).logits, batch.labels)
    assert after < before
    assert all((value == frozen[name]).all() for name, value in clip.model.state_dict().items())

    header = header_of(any_learner, any_trainer)
    checkpoint.save(tmp_path, 1, model.learner.state_dict(), header, {})
    tensors, header = checkpoint.load_prompts(tmp_path / "epoch-1" / checkpoint.PROMPTS)
    assert header["learner"] == any_learner
    fresh = make_model(any_learner, clip)
    checkpoint.load_into(fresh.learner, tensors, tmp_path)
    assert torch.equal(fresh(batch.images).logits, model(batch.images).logits)


def test_any_combination_resumes_bit_for_bit(
    any_learner, any_trainer, clip, batch, make_model, make_trainer, tmp_path
):
    from softprompt.core.engine.loop import fit

    class Batches:
        def __len__(self):
            return 1

        def epoch(self, epoch, start):
            if epoch == self.cut:
                raise KeyboardInterrupt
            return iter([Batch(batch.images + 0.1 * epoch, batch.labels)])

    def run(folder, cut=None):
        model = make_model(any_learner, clip)
        method = make_trainer(any_trainer, model)
        Batches.cut = cut
        folder.mkdir(exist_ok=True)
        header = header_of(any_learner, any_trainer)
        fit(method, Batches(), folder=folder, seed=1, meta=header)
        return model.params()

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", cut=2)
    resumed = run(tmp_path / "cut")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.fixture(scope="module")
def shared():
    return Shared()


def test_any_pair_switched_on_the_command_line_makes_a_step(any_learner, any_trainer, root, shared):
    config = str(root / "configs/prometar/tiny.yaml")
    switched = ["PROMPT.NAME", any_learner, "TRAINER.NAME", any_trainer]
    cfg = load_config(config, "", {}, [*switched, "DATASET.NUM_SHOTS", "1"])
    session = Session(cfg, shared)
    batches = session.training_batches(session.training_items())
    model = session.model(session.learner(session.classnames("base")), "base")
    method = build_trainer(cfg, model)
    method.prepare(Optim.from_config(cfg.OPTIM))
    method.start_epoch(0)
    for value in method.step(next(iter(batches.epoch(0)))).values():
        assert torch.isfinite(value)


@pytest.mark.slow
def test_any_pair_switched_on_the_command_line_makes_a_step_on_vit_b16(
    any_learner, any_trainer, root, shared
):
    """With random weights, three classes and two pictures: built, and one step is taken."""
    config = str(root / "configs/prometar/vit_b16.yaml")
    switched = ["PROMPT.NAME", any_learner, "TRAINER.NAME", any_trainer, "DATASET.NAME", "shapes"]
    cfg = load_config(config, "", {}, [*switched, "MODEL.BACKBONE.PRETRAINED", ""])
    clip, names = shared.clip(cfg), ("cup", "fish", "boat")
    model = PromptedCLIP(clip, build_learner(cfg, clip, names), names)
    method = build_trainer(cfg, model)
    method.prepare(Optim.from_config(cfg.OPTIM))
    check_prepared(method)
    method.start_epoch(0)
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    reach = Reach(method)
    with reach.watching():
        terms = method.step(Batch(images, torch.tensor([0, 1])))
    assert all(torch.isfinite(value) for value in terms.values())
    assert reach.stepped and reach.warnings() == []


def test_zeroshot_cannot_be_trained(clip, make_model, make_trainer):
    with pytest.raises(UserError, match="nothing to train.*--eval-only"):
        make_trainer("erm", make_model("zeroshot", clip))


@pytest.mark.parametrize(
    ("trainer", "options"),
    [
        ("kgcoop", {"weight": 0.0}),
        ("lasp", {"weight": 0.0}),
        ("prograd", {"strength": 0.0}),
        (
            "promptsrc",
            {"text_weight": 0.0, "image_weight": 0.0, "logit_weight": 0.0, "gpa": False},
        ),
        ("prometar", {"text_weight": 0.0, "image_weight": 0.0, "episode": False}),
    ],
)
def test_a_term_switched_off_is_erm(
    any_learner, trainer, options, clip, batch, make_model, make_trainer
):
    trained = []
    for name, chosen in (("erm", {}), (trainer, options)):
        model = make_model(any_learner, clip)
        method = make_trainer(name, model, **chosen)
        for _ in range(3):
            method.step(batch)
        trained.append(model.params())
    assert all(torch.equal(value, trained[1][name]) for name, value in trained[0].items())


def test_ivlp_without_text_prompts_is_vpt(clip, batch, make_model, make_trainer):
    trained = []
    for name, options in (
        ("vpt", {"n_ctx_vision": 4}),
        ("ivlp", {"n_ctx_text": 0, "n_ctx_vision": 4}),
    ):
        model = make_model(name, clip, **options)
        method = make_trainer("erm", model)
        for _ in range(3):
            method.step(batch)
        trained.append(model.params())
    assert trained[0].keys() == trained[1].keys()
    assert all(torch.equal(value, trained[1][name]) for name, value in trained[0].items())


def test_no_gate_grows_with_the_square_of_a_matrix(clip, make_model, make_trainer):
    model = make_model("maple", clip)
    method = make_trainer("prometar", model)
    largest = max(value.numel() for value in model.params().values())
    assert max(value.numel() for value in method.gates.parameters()) < 4 * largest


def test_prometar_may_have_nothing_to_do(clip, batch, make_model, make_trainer):
    """An episode needs two labels; without the plain step there is no other term to log."""
    method = make_trainer("prometar", make_model("coop", clip), plain_step=False)
    assert method.step(Batch(batch.images[:1], batch.labels[:1])) == {}


def test_half_precision_trains(any_learner, make_clip, batch, make_model, make_trainer):
    clip = make_clip()
    clip.precision = "bf16"
    model = make_model(any_learner, clip)
    method = make_trainer("erm", model)
    losses = [method.step(batch)["ce"].item() for _ in range(5)]
    assert losses[-1] < losses[0]
    assert all(value.dtype == torch.float32 for value in model.params().values())


def test_options_have_settings_in_every_section():
    assert {"DATASET", "PROMPT", "TRAINER", "MODEL", "OPTIM", "TEST"} <= set(defaults())
