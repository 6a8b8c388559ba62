"""CoOp: learned context words in place of "a photo of a"."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from softprompt.core.base.errors import UserError
from softprompt.core.base.ranges import Vectors
from softprompt.core.base.registry import PROMPT_LEARNERS
from softprompt.core.prompts.base import POSITIONS, Backbone, PromptLearner, Prompts, context


@PROMPT_LEARNERS.register("coop")
class CoOp(PromptLearner):
    """Context Optimization: https://arxiv.org/abs/2109.01134.

    Differs from the official code in that ``ctx_init`` neither changes ``n_ctx`` nor switches
    ``csc`` off behind the user's back.
    """

    def __init__(
        self,
        clip: Backbone,
        classnames: Sequence[str],
        *,
        n_ctx: Vectors = 16,
        ctx_init: str = "",
        csc: bool = False,
        class_token_position: Annotated[str, POSITIONS] = "end",
    ):
        """Create the context vectors.

        Args:
            n_ctx: number of context vectors.
            ctx_init: words whose embeddings they start at; "": random.
            csc: class-specific context, one set of vectors for each class.
            class_token_position: place of the name among them: end, middle or front.
        """
        template, vectors = context(clip, ctx_init, n_ctx)
        super().__init__(template, n_ctx)
        if class_token_position not in POSITIONS:
            raise UserError(
                f"CLASS_TOKEN_POSITION is {class_token_position!r}; "
                f"it is one of {', '.join(POSITIONS)}"
            )
        self.position = class_token_position
        self.classnames = tuple(classnames) if csc else None
        if csc:  # (classes, n, width)
            if ctx_init:
                vectors = vectors.expand(len(classnames), -1, -1).clone()
            else:
                vectors = torch.randn(len(classnames), n_ctx, clip.text_width) * 0.02
        self.context = nn.Parameter(vectors)

    def forward(self, image_features: Tensor | None = None) -> Prompts:
        return Prompts(text=self.context)

    def for_classes(self, classnames: Sequence[str]) -> PromptLearner:
        trained = self.classnames
        if trained is None or tuple(classnames) == trained:
            return self
        unseen = [name for name in classnames if name not in trained]
        if unseen:
            raise UserError(
                f"this class-specific context was trained for {len(trained)} classes and "
                f"has none for {unseen[0]!r}"
                + (f" and {len(unseen) - 1} others" if len(unseen) > 1 else "")
                + "; evaluate on trained classes, or train with PROMPT.COOP.CSC False"
            )
        return _Chosen(self, _rows(classnames, trained))


class _Chosen(PromptLearner):
    """A class-specific context, for some of its classes."""

    def __init__(self, learner: CoOp, rows: list[int]):
        super().__init__(learner.template, learner.n_context)
        self.learner = learner
        self.rows = rows
        self.position = learner.position

    def forward(self, image_features: Tensor | None = None) -> Prompts:
        return Prompts(text=self.learner.context[self.rows])


def _rows(classnames: Sequence[str], trained: Sequence[str]) -> list[int]:
    """Return each class's row of the context; a repeated name takes the rows of that name in turn.

    A name that is given more often than it was trained takes the last of them.
    """
    contexts: dict[str, list[int]] = {}
    for row, name in enumerate(trained):
        contexts.setdefault(name, []).append(row)
    met: Counter[str] = Counter()
    rows = []
    for name in classnames:
        rows.append(contexts[name][min(met[name], len(contexts[name]) - 1)])
        met[name] += 1
    return rows
