"""How the frames of a video are solved: with recurrence without recurrence (RwR) or by themselves, and how long."""

import dataclasses
from dataclasses import dataclass

from ldeq.config import ModelConfig, SolverConfig


@dataclass(frozen=True)
class SolveSettings:
    """How a network solves frames. What runs the network does not matter to it."""

    #: Hand z* of a face's frame on to its next; if false every frame is solved by itself, as the network's own settings
    #: say.
    rwr: bool = True
    #: With ``rwr``, the solver's iterations on every frame.
    max_iters: int = 1
    #: With ``rwr``, leave out the evaluation of the cell that follows the solver.
    take_one_less_inference_step: bool = False
    #: ``sample`` or ``batch``; None keeps the network's.
    stop_criterion: str | None = None
    #: With ``rwr``, solve a face's first frame with the network's own settings.
    full_first_solve: bool = False

    def to_converge(self, config: SolverConfig) -> SolverConfig | None:
        """The settings of the solves of a network with these own ones, where the solves are to converge.

        None where RwR has fewer iterations than the network's own solves: then it is by choice that they do not.
        """
        if not self.rwr:
            return config
        return dataclasses.replace(config, max_iters=self.max_iters) if self.max_iters >= config.max_iters else None

    def describe(self, model: ModelConfig, solver: SolverConfig) -> str:
        """How frames are solved by such a network, in words."""
        if model.model_mode == "explicit":
            start = "from the last frame's heatmaps" if self.rwr else "frame by frame"
            return f"explicit, {model.explicit_depth} cell applications {start}"
        if not self.rwr:
            return f"frame by frame ({solver.solver}, at most {solver.max_iters} iterations)"
        last = "without" if self.take_one_less_inference_step else "with"
        plural = "s" if self.max_iters > 1 else ""
        return f"RwR ({solver.solver}, {self.max_iters} iteration{plural} a frame, {last} the last step)"
