"""The forms of the regulating function psi(g; h), from a raw gradient row to the one followed."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

HIDDEN = 24  # width of the gate's hidden layer
LAYERS = 2
SUPMER_RANK = 1920  # in the official code, which clips it to the width
EPS = 1e-8
TINY = 1e-30  # of a squared length, above single precision's underflow


class Gate(nn.Module):
    """``c = sigmoid(w2^T relu(W1 h + b1) + b2)``, a scalar for the task condition h."""

    def __init__(self, dim: int):
        super().__init__()
        self.hidden = nn.Linear(dim, HIDDEN)
        self.out = nn.Linear(HIDDEN, 1)
        nn.init.normal_(self.hidden.weight, std=dim**-0.5)
        nn.init.normal_(self.out.weight, std=0.1)
        nn.init.zeros_(self.hidden.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, condition: Tensor) -> Tensor:
        return torch.sigmoid(self.out(torch.relu(self.hidden(condition)))).squeeze(-1)


class IdRms(nn.Module):
    """Low-rank residual layers on the gradient at unit scale: identity at the start.

    With ``rho = rms(g)``, ``z_0 = g / rho``, ``z_l = z_{l-1} + max(0, U_l V_l z_{l-1} + b_l)`` and
    ``x`` = z_2 at the length of z_0, ``psi(g; h) = g + (1 - c(h)) (rho x - g)``. It turns and
    shrinks a row, never lengthens it, and ``psi(k g) = k psi(g)`` for k > 0.
    """

    def __init__(self, width: int, dim: int, rank: int):
        super().__init__()
        rank = min(rank, width)
        self.down = _matrices(rank, width, std=width**-0.5)
        self.up = _matrices(width, rank, std=0)
        self.bias = nn.ParameterList(torch.zeros(width) for _ in range(LAYERS))
        self.gate = Gate(dim)

    def forward(self, gradient: Tensor, condition: Tensor) -> Tensor:
        alive, g = _without_zero_rows(gradient)
        rho = _rms(g)
        start = z = g / rho
        for up, down, bias in zip(self.up, self.down, self.bias, strict=True):
            z = z + _positive(z @ down.T @ up.T + bias)
        x = z * (_norm(start) / (_norm(z) + EPS))
        # at c = 1 this is the raw gradient to the bit
        return torch.where(alive, g + (1 - self.gate(condition)) * (rho * x - g), gradient)


class Supmer(nn.Module):
    """The regulating function of SUPMER's released code: https://arxiv.org/abs/2303.12314.

    ``z_l = max(0, U_l V_l z_{l-1} + b_l)`` from ``z_0 = g`` on, without a residual, and
    ``psi(g; h) = (1 - c(h)) z_2 |g| / |z_2| + c(h) g``. Its branch has no negative entry, so it
    starts far from the identity, and with a bias it depends on the gradient's scale. The gate
    starts as in the other forms.
    """

    def __init__(self, width: int, dim: int, rank: int):
        super().__init__()
        rank = min(SUPMER_RANK, width)
        self.down = _matrices(rank, width, std=1)
        self.up = _matrices(width, rank, std=1)
        self.bias = nn.ParameterList(torch.zeros(width) for _ in range(LAYERS))
        self.gate = Gate(dim)

    def forward(self, gradient: Tensor, condition: Tensor) -> Tensor:
        alive, g = _without_zero_rows(gradient)
        z = g
        for up, down, bias in zip(self.up, self.down, self.bias, strict=True):
            z = torch.relu(z @ down.T @ up.T + bias)
        c = self.gate(condition)
        x = z * (_norm(g) / (_norm(z) + EPS))
        return torch.where(alive, (1 - c) * x + c * g, gradient)


class Film(nn.Module):
    """A scale and a shift of each entry, ``psi(g; h) = rho (exp(a(h)) g / rho + b(h))``.

    Identity at the start, homogeneous, but able to lengthen a row.
    """

    def __init__(self, width: int, dim: int, rank: int):
        super().__init__()
        self.scale = nn.Linear(dim, width)
        self.shift = nn.Linear(dim, width)
        for value in self.parameters():
            nn.init.zeros_(value)

    def forward(self, gradient: Tensor, condition: Tensor) -> Tensor:
        alive, g = _without_zero_rows(gradient)
        rho = _rms(g)
        turned = g * self.scale(condition).exp() + rho * self.shift(condition)
        return torch.where(alive, turned, gradient)


# META.REGULATOR.FORM; "none" leaves gradients as they are
FORMS: dict[str, Callable[[int, int, int], nn.Module] | None] = {
    "id_rms": IdRms,
    "none": None,
    "supmer": Supmer,
    "film": Film,
}


def _matrices(rows: int, columns: int, std: float) -> nn.ParameterList:
    return nn.ParameterList(std * torch.randn(rows, columns) for _ in range(LAYERS))


def _without_zero_rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return a mask of the rows that are not zero, and the gradient with ones in all others.

    A zero row stays zero, and its length, which has no derivative, is not differentiated.
    """
    alive = gradient.detach().abs().amax(-1, keepdim=True) > 0
    return alive, torch.where(alive, gradient, torch.ones_like(gradient))


def _positive(values: Tensor) -> Tensor:
    """Return ``max(0, values)`` with slope 1 at 0.

    All values are 0 at the start, where relu and clamp have slope 0 and nothing would be learned.
    """
    return torch.where(values >= 0, values, 0.0)


def _norm(rows: Tensor) -> Tensor:
    # the clamp gives a length of 0 a derivative of 0
    return rows.pow(2).sum(-1, keepdim=True).clamp(min=TINY).sqrt()


def _rms(rows: Tensor) -> Tensor:
    return _norm(rows) * rows.shape[-1] ** -0.5
