"""What the scripts share on the command line: flags, and how a run ends when something is wrong."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import torch

from ldeq import InputError
from ldeq.config import STOP_CRITERIA
from utils import bundled
from utils.device import PRECISIONS


class ArgumentParser(argparse.ArgumentParser):
    """Shows each flag's default in ``--help``, and says what is wrong in one sentence."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")

    def parse(self, arguments: Sequence[str] | None = None, ids_flag: str | None = None) -> argparse.Namespace:
        """Parses; what follows ``ids_flag`` are ids even where they begin with '-', up to the next flag we have."""
        words = list(sys.argv[1:] if arguments is None else arguments)
        if ids_flag is None:
            return self.parse_args(words)
        bound: list[str] = []
        taking = False
        for word in words:
            if self._is_flag(word):
                taking = word == ids_flag
                if not taking:
                    bound.append(word)
            else:
                bound.append(f"{ids_flag}={word}" if taking else word)
        if ids_flag in words and not any(word.startswith(f"{ids_flag}=") for word in bound):
            self.error(f"argument {ids_flag}: expected at least one id")
        return self.parse_args(bound)

    def _is_flag(self, word: str) -> bool:
        name = word.split("=", 1)[0]
        flags = self._option_string_actions
        # argparse takes a flag's unambiguous beginning for it.
        return name in flags or (len(name) > 3 and name[:2] == "--" and any(flag.startswith(name) for flag in flags))


def boolean(word: str) -> bool:
    """The published scripts' spellings of true and false."""
    if word.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if word.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{word!r} is neither true (yes, true, t, y, 1) nor false (no, false, f, n, 0)")


def at_least(minimum: int) -> Callable[[str], int]:
    """A whole number of at least ``minimum``."""

    def whole_number(word: str) -> int:
        try:
            number = int(word)
        except ValueError:
            number = minimum - 1
        if number < minimum:
            raise argparse.ArgumentTypeError(f"{word!r} is not a whole number of at least {minimum}")
        return number

    return whole_number


def add_boolean(parser: argparse.ArgumentParser, flag: str, help: str, default: bool = False) -> None:
    """``--flag true`` as in the published scripts; ``--flag`` alone is true."""
    parser.add_argument(flag, type=boolean, nargs="?", const=True, default=default, metavar="{true,false}", help=help)


def add_common_flags(parser: argparse.ArgumentParser, script: str) -> None:
    """The flags that both evaluation scripts have."""
    parser.add_argument(
        "--landmark_model_weights",
        default=str(bundled.WEIGHTS),
        metavar="FILE",
        help="checkpoint in the published format (final.pth.tar); the default is bundled",
    )
    add_boolean(parser, "--verbose_solver", "print how the solver did on each batch")
    parser.add_argument("--device", default="auto", help="auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:1, mps")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="fp32", help="of the network's convolutions")
    parser.add_argument(
        "--stop_criterion",
        choices=STOP_CRITERIA,
        default="sample",
        help="sample: each sample stops by its own error; batch: by the batch's mean, as the published code does",
    )
    parser.add_argument("--output_dir", metavar="DIR", help=f"where results go; if not given, results/{script}/<time>")
    add_boolean(parser, "--summary", "print the network's layers, parameters and operations")
    add_boolean(
        parser, "--trust_pickle", "load checkpoints that hold other classes than tensors; their code can run anything"
    )


def run(script: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a script's main function and ends the process: status 2 and one sentence for what a user can get wrong."""
    name = sys.argv[0].rsplit("/", 1)[-1]
    try:
        script(arguments)
    except InputError as error:
        _leave(2, f"{name}: error: {error}")
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        _leave(2, f"{name}: error: {error.filename or 'a file'}: {error.strerror}, expected to read or write it")
    except torch.OutOfMemoryError:
        _leave(2, f"{name}: error: the device's memory is full, expected a smaller batch to fit (--batch_size)")
    except KeyboardInterrupt as interrupt:
        _leave(130, ": ".join([name, "interrupted", *map(str, interrupt.args)]))
    sys.exit(0)


def _leave(status: int, sentence: str) -> NoReturn:
    print(" ".join(sentence.split()), file=sys.stderr)
    sys.exit(status)
