"""Pairs that cannot be used: counted by reason, reported in a line each, refused if too many."""

from softprompt.core.base.errors import UserError
from softprompt.core.base.log import logger

NAMED = 3  # examples of a reason that a message names


class Skipped:
    """What is left out of a source of captioned pictures, and why."""

    def __init__(self, source: str, allowed: float):
        """Start with nothing left out.

        Args:
            allowed: the share of all pairs that may be left out.
        """
        self.source = source
        self.allowed = allowed
        self.found: dict[str, list[str]] = {}
        self.counts: dict[str, int] = {}

    def add(self, reason: str, where: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        examples = self.found.setdefault(reason, [])
        if len(examples) < NAMED:
            examples.append(where)

    def report(self, total: int) -> None:
        """Log each reason in a line.

        Raises:
            UserError: more than the allowed share of ``total`` pairs is left out, or all of them.
        """
        bad = sum(self.counts.values())
        if bad > self.allowed * total or bad >= total:
            reasons = "; ".join(
                f"{count} with {self._named(reason)}" for reason, count in self.counts.items()
            )
            raise UserError(
                f"{self.source}: {bad} of {total} pairs cannot be used, where MAX_SKIPPED allows a "
                f"share of {self.allowed:g}: {reasons}"
            )
        for reason in self.counts:
            count = self.counts[reason]
            logger.warning(
                f"{self.source}: skipped {count} of {total} pairs, with {self._named(reason)}"
            )

    def _named(self, reason: str) -> str:
        examples = self.found[reason]
        more = ", ..." if self.counts[reason] > len(examples) else ""
        return f"{reason} ({', '.join(examples)}{more})"
