"""A network as the flags of a command line ask for it, and how it solves the frames of videos."""

import argparse

from ldeq.runtime.choice import OpenedNetwork, open_network
from ldeq.solve_settings import SolveSettings


def settings_from_flags(flags: argparse.Namespace) -> SolveSettings:
    """How frames are to be solved.

    Args:
        flags: of :func:`ldeq.command_line.add_common_flags` and :func:`ldeq.command_line.add_rwr_flags`.
    """
    return SolveSettings(
        rwr=flags.rwr,
        max_iters=flags.rwr_max_iters,
        take_one_less_inference_step=flags.rwr_take_one_less_inference_step,
        stop_criterion=flags.stop_criterion,
    )


def open_from_flags(
    flags: argparse.Namespace, settings: SolveSettings | None = None, choice: tuple[str, str] | None = None
) -> OpenedNetwork:
    """The network on its runtime.

    Args:
        flags: of :func:`ldeq.command_line.add_network_flags` and :func:`ldeq.command_line.add_runtime_flag`.
        settings: how it is going to solve.
        choice: the runtime and the precision (:attr:`OpenedNetwork.choice`) in place of those of the flags.

    Raises:
        InputError: as :func:`ldeq.runtime.choice.open_network`.
    """
    runtime, precision = choice or (flags.runtime, flags.precision)
    return open_network(
        flags.landmark_model_weights,
        runtime=runtime,
        device=flags.device,
        precision=precision,
        settings=settings,
        trust_pickle=flags.trust_pickle,
    )
