"""Watching a training step from outside: its draws are replayed, all it computes is recorded."""

from contextlib import contextmanager

LOSSES = ("cross_entropy", "l1_loss", "kl_div")


@contextmanager
def replayed(draws: list):
    """Let torch's random draws return what was recorded, in order."""
    import torch

    left = iter(draws)

    def drawn(wanted: str):
        def draw(*_, **__):
            name, values = next(left, ("nothing", []))
            if name != wanted:
                raise ValueError(f"the method draws {wanted}, the record says {name}")
            return torch.tensor(values)

        return draw

    beta = torch.distributions.Beta
    kept = torch.randperm, torch.randint, beta.sample
    torch.randperm, torch.randint = drawn("randperm"), drawn("randint")
    beta.sample = drawn("Beta.sample")
    try:
        yield
    finally:
        torch.randperm, torch.randint, beta.sample = kept


@contextmanager
def recorded(trainer):
    """Yield what one training step does: its losses, its raw gradients and its updates."""
    import torch.nn.functional as F

    seen: dict[str, list] = {"losses": [], "updates": [], "raw": []}
    names = {id(value): name for name, value in trainer.model.params().items()}
    names |= {
        id(value): name
        for name, value in trainer.named_parameters()
        if not name.startswith("model.")
    }
    kept = {name: getattr(F, name) for name in LOSSES}

    def watched(name: str):
        def loss(*args, **kwargs):
            value = kept[name](*args, **kwargs)
            seen["losses"].append((name, value.detach().tolist()))
            return value

        return loss

    def stepping(optimizer, step):
        def stepped(*args, **kwargs):
            group = optimizer.param_groups[0]
            grads = {names[id(p)]: p.grad.clone() for p in group["params"]}
            value = step(*args, **kwargs)
            after = {names[id(p)]: p.detach().clone() for p in group["params"]}
            seen["updates"].append({"lr": group["lr"], "grads": grads, "after": after})
            return value

        return stepped

    raw = trainer.gradients

    def gradients(*args, **kwargs):
        found = raw(*args, **kwargs)
        seen["raw"].append({name: value.detach().clone() for name, value in found.items()})
        return found

    steps = {optimizer: optimizer.step for optimizer in trainer.optimizers.values()}
    for name in LOSSES:
        setattr(F, name, watched(name))
    for optimizer, step in steps.items():
        optimizer.step = stepping(optimizer, step)
    trainer.gradients = gradients
    try:
        yield seen
    finally:
        for name in LOSSES:
            setattr(F, name, kept[name])
        for optimizer, step in steps.items():
            optimizer.step = step
        del trainer.gradients
