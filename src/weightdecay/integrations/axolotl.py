"""axolotl: a plugin that reads ``weightdecay:`` of its configuration file."""

from __future__ import annotations

from typing import Any

from axolotl.integrations.base import BasePlugin
from pydantic import BaseModel

from weightdecay.integrations.huggingface import WeightDecayCallback, optimizer_for


class Arguments(BaseModel):  # type: ignore[misc, unused-ignore]
    """What the plugin adds to axolotl's configuration: one table."""

    weightdecay: dict[str, Any] | None = None


class WeightDecayPlugin(BasePlugin):  # type: ignore[misc, unused-ignore]
    """Gives axolotl's Trainer an optimizer, λ over time and readings.

    The table ``weightdecay:`` holds ``optimizer``, ``decay``, ``weight_decay``, ``preset``, ``roles`` and options of
    the class, as of :func:`weightdecay.integrations.huggingface.optimizer_for`; and ``schedule``, ``monitor`` and
    ``every`` of its :class:`~weightdecay.integrations.huggingface.WeightDecayCallback`. ``learning_rate`` and
    ``weight_decay`` beside it are axolotl's own, and hold where the table is silent. ``optimizer:`` beside it is
    overruled.

    ``create_optimizer`` of axolotl's plugins is no place for it: axolotl 0.19 calls it nowhere.

    Source: axolotl 0.19, ``axolotl/integrations/base.py``, ``core/trainers/mixins/optimizer.py``.
    """

    def get_input_args(self) -> str:
        """Return the path of the keys that this plugin adds to a configuration."""
        return "weightdecay.integrations.axolotl.Arguments"

    def post_trainer_create(self, cfg: Any, trainer: Any) -> None:
        """Set the optimizer that the Trainer will build, and put the callback before its trackers."""
        table = dict(cfg.weightdecay or {})
        callback = {name: table.pop(name) for name in ("schedule", "monitor", "every") if name in table}
        trainer.optimizer_cls_and_kwargs = optimizer_for(trainer.args, **table)
        WeightDecayCallback(**callback).add_to(trainer)
