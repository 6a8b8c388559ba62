"""No step reads from the device: a GPU would wait for it, and no graph could be captured."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

READS = ("_local_scalar_dense", "nonzero", "_unique", "unique_", "masked_select", "is_nonzero")


class NoHostReads(TorchDispatchMode):
    """Refuses operations that wait for the device, or whose shapes depend on its values."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        boolean = name == "index" and any(
            isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        if boolean or any(name.startswith(read) for read in READS):
            raise AssertionError(f"a step calls {func}")
        return func(*args, **(kwargs or {}))


def stepped(trainer, batch, refuse: bool) -> tuple[dict, dict]:
    """Take a step with what is drawn before; return its terms and the prompts after it."""
    torch.manual_seed(7)
    trainer.drawn(batch)
    if refuse:
        with NoHostReads():
            terms = trainer.step(batch)
    else:
        terms = trainer.step(batch)
    return terms, {name: value.detach().clone() for name, value in trainer.model.params().items()}


def test_a_step_reads_nothing(any_learner, any_trainer, clip, make_batch, make_model, make_trainer):
    found = []
    for refuse in (False, True):
        trainer = make_trainer(any_trainer, make_model(any_learner, clip))
        stepped(trainer, make_batch(), refuse=False)  # the layout of the sentences is made once
        found.append(stepped(trainer, make_batch(6), refuse))
    (terms, params), (own_terms, own_params) = found
    assert terms.keys() == own_terms.keys()
    assert all(torch.equal(terms[name], own_terms[name]) for name in terms)
    assert all(torch.equal(params[name], own_params[name]) for name in params)


def test_reads_are_refused():
    values = torch.arange(3.0)
    for read in (
        lambda: values[0].item(),
        lambda: values[values > 1],
        lambda: torch.unique(values),
        lambda: values.nonzero(),
        lambda: bool(values.sum() > 1),
    ):
        with pytest.raises(AssertionError, match="a step calls"), NoHostReads():
            read()
    with NoHostReads():
        values[torch.tensor([2, 0])]
