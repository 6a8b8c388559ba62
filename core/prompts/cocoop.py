"""CoCoOp: context words that depend on the image."""

from collections.abc import Sequence

from torch import Tensor, nn

from softprompt.core.base.ranges import Vectors
from softprompt.core.base.registry import PROMPT_LEARNERS
from softprompt.core.prompts.base import Backbone, PromptLearner, Prompts, context

BOTTLENECK = 16  # the hidden layer is this many times narrower than the image feature


@PROMPT_LEARNERS.register("cocoop")
class CoCoOp(PromptLearner):
    """Conditional Context Optimization: https://arxiv.org/abs/2203.05557.

    A small network turns the image's feature into one vector, which is added to every context
    vector: ``v_m(x) = v_m + h(x)``. All images of a batch are encoded at once; the official code
    loops over them.
    """

    conditional = True

    def __init__(
        self,
        clip: Backbone,
        classnames: Sequence[str],
        *,
        n_ctx: Vectors = 4,
        ctx_init: str = "a photo of a",
    ):
        """Create the context vectors and the network.

        Args:
            n_ctx: number of context vectors.
            ctx_init: words whose embeddings they start at; "": random.
        """
        template, start = context(clip, ctx_init, n_ctx)
        super().__init__(template, n_ctx)
        self.context = nn.Parameter(start)
        hidden = max(1, clip.dim // BOTTLENECK)
        self.meta_net = nn.Sequential(
            nn.Linear(clip.dim, hidden), nn.ReLU(), nn.Linear(hidden, clip.text_width)
        )

    def forward(self, image_features: Tensor | None = None) -> Prompts:
        shift = self.meta_net(image_features)  # (batch, width)
        return Prompts(text=self.context + shift[:, None, None])  # (batch, 1, n, width)
