"""The scripts' command line: flags that they share, short and full help, and how a run ends when something is wrong."""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ldeq import interrupts, pretrained, torchrun
from ldeq.config import PRECISIONS, RUNTIMES, STOP_CRITERIA, SolverConfig
from ldeq.errors import InputError, program_name, sentence_of
from ldeq.fields import MOST_SAMPLES, field_named, in_words, kind, setting_of, shortened
from ldeq.files import printable, refuse_address
from ldeq.streams import lossy_output

#: Seconds that the first of several processes on a machine may take to say what each of them could say.
_SECONDS_FOR_FIRST = 30.0


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows each flag's default, where it has one, in the spelling of the command line."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.help is None:
            return None
        text = action.help
        if isinstance(action.type, Number):
            text = f"{text}; from {in_words(action.type.low)} to {in_words(action.type.high)}"
        if action.default in (None, argparse.SUPPRESS):
            return text
        default = str(action.default).lower() if isinstance(action.default, bool) else "%(default)s"
        return f"{text} (default: {default})"


class _FullHelp(argparse.Action):
    """``--help_all``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> NoReturn:
        assert isinstance(parser, ArgumentParser)
        print(parser.format_help(full=True), end="")
        parser.exit()


class ArgumentParser(argparse.ArgumentParser):
    """Says what is wrong in one sentence. Flags are not abbreviated.

    ``--help`` lists the flags that most users need, ``--help_all`` those of :meth:`leave_to_full_help` too.

    Args:
        ids_flag: a flag (``append``) of ids, which may begin with '-': what follows it are ids up to the next flag.
    """

    def __init__(self, description: str, ids_flag: str | None = None, prog: str | None = None) -> None:
        super().__init__(
            prog=prog, description=description, formatter_class=_HelpFormatter, allow_abbrev=False, add_help=False
        )
        self._ids_flag = ids_flag
        self._groups: dict[str, argparse._ArgumentGroup] = {}
        self._left_to_full_help: set[argparse.Action] = set()
        self.add_argument("-h", "--help", action="help", help="show help and exit")
        self._full_help = self.add_argument(
            "--help_all", action=_FullHelp, nargs=0, default=argparse.SUPPRESS, help="show help on all flags and exit"
        )

    def group(self, title: str, description: str | None = None) -> "argparse._ArgumentGroup":
        """The group of flags with this title, which is made where there is none yet."""
        if title not in self._groups:
            self._groups[title] = self.add_argument_group(title, description)
        return self._groups[title]

    def leave_to_full_help(self, *flags: str) -> None:
        """``--help`` does not list these flags; ``--help_all`` does."""
        self._left_to_full_help |= {self._option_string_actions[flag] for flag in flags}

    def format_help(self, full: bool = False) -> str:
        """The text of ``--help``, or of ``--help_all``."""
        unlisted = set() if full else self._left_to_full_help or {self._full_help}
        formatter = self.formatter_class(prog=f"{self.prog} [options]")
        formatter.add_usage(None, [action for action in self._actions if _must_be_given(action)], [])
        formatter.add_text(self.description)
        for group in self._action_groups:
            listed = [action for action in group._group_actions if action not in unlisted]
            if listed:
                formatter.start_section(group.title)
                formatter.add_text(group.description)
                formatter.add_arguments(listed)
                formatter.end_section()
        formatter.add_text(self.epilog)
        if not full and self._left_to_full_help:
            formatter.add_text(f"{len(unlisted)} further flags are for rarer needs: see --help_all.")
        return formatter.format_help()

    def error(self, message: str) -> NoReturn:
        if torchrun.local_rank() and not torchrun.is_main():
            time.sleep(_SECONDS_FOR_FIRST)  # it says the same, and then torchrun ends this process
        message = shortened(message, 400)  # a word of any length may stand in it
        self.exit(2, f"{printable(f'{self.prog}: error: {message} (see --help)')}\n")

    def parse(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """Parses ``arguments``, or the command line."""
        words = list(sys.argv[1:] if arguments is None else arguments)
        if self._get_positional_actions():
            words = self._end_flags_before_files(words)
        flags = self.parse_args(words if self._ids_flag is None else self._bind_ids(words))
        for action in self._actions:
            if action.metavar not in ("URL", "INPUT"):  # an input of several takes nothing from the others
                self._refuse_addresses(action, getattr(flags, action.dest, None))
        return flags

    def _refuse_addresses(self, action: argparse.Action, values: object) -> None:
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str | Path) and value != action.default:
                try:
                    refuse_address(value)
                except InputError as error:
                    self.error(f"argument {'/'.join(action.option_strings) or action.metavar}: {error}")

    def _end_flags_before_files(self, words: Sequence[str]) -> list[str]:
        """Keeps flags whose value is optional from taking a file that follows for it: ``--smooth clip.mp4``."""
        ended: list[str] = []
        for word, following in zip(words, [*words[1:], None], strict=False):
            flag = self._option_string_actions.get(word)
            takes_file = following is not None and (Path(following).exists() or set(following) & set("./*\\"))
            if flag is not None and flag.nargs == "?" and takes_file:
                ended.append(f"{word}={flag.const}")
            else:
                ended.append(word)
        return ended

    def _bind_ids(self, words: Sequence[str]) -> list[str]:
        """Joins each id to its flag by '=', so that argparse takes one that begins with '-' for what it is."""
        bound: list[str] = []
        group: list[str] | None = None  # the ids of the flag that is being read
        for word in [*words, "--"]:
            name, _, value = word.partition("=")
            if word == "--" or name in self._option_string_actions:
                if group is not None and not group:
                    self.error(f"argument {self._ids_flag}: expected at least one id")
                bound += [f"{self._ids_flag}={id}" for id in group or ()]
                group = ([value] if value else []) if name == self._ids_flag else None
                if group is None and word != "--":
                    bound.append(word)
            elif group is not None and word:
                group.append(word)
            else:
                bound.append(word)
        return bound


def boolean(word: str) -> bool:
    """The published scripts' spellings of true and false."""
    if word.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if word.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{word!r} is neither true (yes, true, t, y, 1) nor false (no, false, f, n, 0)")


#: Limits of numbers on the command line, which keep a mistyped one from filling all memory or starting what never ends.
MOST_WORKERS = 256
MOST_SECONDS = 86_400


@dataclass(frozen=True)
class Number:
    """Reads a number from ``low`` to ``high``, a whole one if ``is_whole``; a flag's ``type``."""

    low: float
    high: float
    is_whole: bool

    def __call__(self, word: str) -> float:
        try:
            number: float = int(word) if self.is_whole else float(word)
        except ValueError:
            number = math.nan
        if not self.low <= number <= self.high:
            low, high = in_words(self.low), in_words(self.high)
            expected = f"whole number of at least {low} and at most" if self.is_whole else f"number from {low} to"
            raise argparse.ArgumentTypeError(f"{word!r} is not a {expected} {high}")
        return number


def at_least(minimum: int, at_most: int = MOST_SAMPLES) -> Number:
    """A whole number from ``minimum`` to ``at_most``."""
    return Number(minimum, at_most, is_whole=True)


def number_within(low: float, high: float) -> Number:
    """A number from ``low`` to ``high``."""
    return Number(low, high, is_whole=False)


def number_of(cls: type, name: str) -> Number:
    """A number within the bounds of a field of a configuration dataclass."""
    field = field_named(cls, name)
    about = setting_of(field)
    assert about.low is not None
    assert about.high is not None
    return Number(about.low, about.high, is_whole=kind(field) == "int")


def add_boolean(parser: "argparse._ActionsContainer", flag: str, help: str, default: bool | None = False) -> None:
    """``--flag true`` as in the published scripts; ``--flag`` alone is true."""
    parser.add_argument(flag, type=boolean, nargs="?", const=True, default=default, metavar="{true,false}", help=help)


def add_network_flags(parser: ArgumentParser, script: str | None = None) -> None:
    """Adds the flags for which network runs where, and for where results go if a ``script`` has a folder of them."""
    network = parser.group("network")
    network.add_argument(
        "--landmark_model_weights",
        default=pretrained.BUNDLED,
        metavar="FILE|NAME",
        help="checkpoint in the published format (final.pth.tar), or the name of a network: "
        + "; ".join(f"{name} ({what})" for name, what in pretrained.NAMES.items()),
    )
    add_device_flag(network)
    network.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the network's convolutions")
    add_boolean(
        network, "--trust_pickle", "load checkpoints that hold other classes than tensors; their code can run anything"
    )
    if script is not None:
        add_output_flag(parser.group("output"), script)
    parser.leave_to_full_help("--trust_pickle")


def add_device_flag(parser: "argparse._ActionsContainer") -> None:
    """Adds ``--device``."""
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:1, mps"
    )


def add_output_flag(parser: "argparse._ActionsContainer", script: str) -> None:
    """Adds ``--output_dir``."""
    parser.add_argument("--output_dir", metavar="DIR", help=f"where results go; if not given, results/{script}/<time>")


def add_common_flags(parser: ArgumentParser, script: str) -> None:
    """Adds the flags that the evaluation scripts and the prediction share."""
    add_network_flags(parser, script)
    solver = parser.group("solver")
    solver.add_argument(
        "--stop_criterion",
        choices=STOP_CRITERIA,
        default="sample",
        help="sample: each sample stops by its own error; batch: by the batch's mean, as the published code does",
    )
    add_boolean(solver, "--verbose_solver", "print how the solver did on each batch")
    add_boolean(parser.group("network"), "--summary", "print the network's layers, parameters and operations")
    parser.leave_to_full_help("--stop_criterion", "--verbose_solver", "--summary")


def add_runtime_flag(parser: ArgumentParser, default: str) -> None:
    """Adds ``--runtime``, after the network's other flags, and lets ``--precision`` be chosen by measurement."""
    network = parser.group("network")
    network.add_argument(
        "--runtime",
        choices=RUNTIMES,
        default=default,
        help="what runs the network; auto: PyTorch on a GPU, else the fastest that is installed, by a measurement that "
        "is made once; onnxruntime and openvino export a checkpoint at its first use",
    )
    for action in network._group_actions:
        if action.dest == "precision":
            action.choices = (*PRECISIONS, "auto")
            action.help = f"{action.help}; auto: bf16 where it is faster here and exact enough"


def add_rwr_flags(parser: ArgumentParser, default: bool) -> None:
    """Adds the flags for how the frames of a video are solved, of which RwR is the ``default`` or is not."""
    solver = parser.group("solver")
    add_boolean(
        solver,
        "--rwr",
        "recurrence without recurrence: each frame's solve starts from the last frame's equilibrium",
        default=default,
    )
    if default:
        solver.add_argument(
            "--no-rwr", dest="rwr", action="store_false", default=argparse.SUPPRESS, help="the same as --rwr false"
        )
        parser.leave_to_full_help("--no-rwr")
    solver.add_argument(
        "--rwr_max_iters",
        type=number_of(SolverConfig, "max_iters"),
        default=1,
        metavar="N",
        help="with --rwr, solver iterations on every frame",
    )
    add_boolean(
        solver, "--rwr_take_one_less_inference_step", "with --rwr, leave out the evaluation that follows the solver"
    )
    parser.leave_to_full_help("--rwr_take_one_less_inference_step")


def run(script: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a script's main function and ends the process: status 2 and one sentence for what a user can get wrong.

    The run does not depend on who reads what it says: where nobody does any more, it goes on and says nothing.
    """
    name = program_name()
    try:
        with interrupts.as_exceptions() as requests, lossy_output() as output:
            status, sentence = _outcome(script, arguments, requests)
            requests.end_at_once_from_here()
            for line in filter(None, (sentence, *output.failures())):
                complain(f"{name}: {line}")
            sys.exit(status)
    except KeyboardInterrupt:  # before the script had begun, or after its end
        interrupts.end_at_once()


def _outcome(
    script: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None, requests: interrupts.Requests
) -> tuple[int, str | None]:
    """Exit status and last words of a script."""
    try:
        script(arguments)
    except SystemExit as end:  # after --help, say
        return int(end.code or 0), None
    except KeyboardInterrupt as interrupt:
        return interrupts.STATUS, _interrupted(*interrupt.args)
    except Exception as error:
        sentence = sentence_of(error)
        if not isinstance(error, InputError | MemoryError) and requests.settle():  # which led to it
            return interrupts.STATUS, _interrupted()
        if sentence is None:
            raise
        return 2, f"error: {sentence}"
    return 0, None


def _interrupted(*words: object) -> str | None:
    """How a run says that it was asked to end; of several processes the main one says it."""
    return ": ".join(["interrupted", *map(str, words)]) if torchrun.is_main() else None


def _must_be_given(action: argparse.Action) -> bool:
    """True for required flags, and for arguments without a flag, which the usage spells out."""
    return action.required or not action.option_strings


def complain(sentence: str) -> None:
    """Prints a sentence on stderr, in one line. What it quotes of files is escaped, and nothing in it left out."""
    print(printable(sentence), file=sys.stderr)
