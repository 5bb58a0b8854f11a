"""Starts runs of several processes as torchrun does, but has them import nothing: each is a fork of this one.

Each line of its input is a run, as JSON; it prints the ids of the run's processes, and once all have ended their exit
statuses. Where one fails the others on its machine get SIGTERM, as from torchrun.
"""

import importlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from typing import NoReturn

import cv2  # noqa: F401  (imported once for all)
import torch.distributed

import predict_video  # noqa: F401
import test_LDEQ_WFLW  # noqa: F401
import test_LDEQ_WFLW_V  # noqa: F401
from datasets.wflw_v import WFLWVDataset  # noqa: F401
from ldeq import interrupts, prediction, terminal, torchrun  # noqa: F401
from ldeq.command_line import run
from ldeq.orphans import end_with_parent
from utils.engine import evaluation  # noqa: F401
from utils.visualization import annotated_videos, figures, images, videos  # noqa: F401

REQUESTS = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    end_with_parent()
    for kind in REQUESTS:  # which tests send to all of its group
        signal.signal(kind, lambda number, frame: None)
    # As that of torchrun, it has what earlier runs have left in it.
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for number, line in enumerate(sys.stdin):
        order = json.loads(line)
        meeting = {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
        meeting["TORCHELASTIC_RESTART_COUNT"] = str(number)
        if order["one_a_machine"]:  # the main process has a store of its own, as where another launcher starts them
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                meeting = {"MASTER_PORT": str(free.getsockname()[1])}
        pids = [start(order, rank, meeting) for rank in range(order["size"])]
        print(json.dumps(pids), flush=True)
        print(json.dumps(statuses_of(pids, are_told=not order["one_a_machine"])), flush=True)


def start(order: dict, rank: int, meeting: dict[str, str]) -> int:
    # A process of torchrun has no handlers of torchrun's, which would lose a request to end.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, REQUESTS)
    pid = os.fork()
    if not pid:
        for kind in REQUESTS:
            signal.signal(kind, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if not pid:
        become(order, rank, meeting)
    return pid


def become(order: dict, rank: int, meeting: dict[str, str]) -> NoReturn:
    size = order["size"]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": str(size), "RANK": str(rank), **meeting}
    local_rank, local_size = (0, 1) if order["one_a_machine"] else (rank, size)
    os.environ |= {"LOCAL_RANK": str(local_rank), "LOCAL_WORLD_SIZE": str(local_size), "TORCHELASTIC_RUN_ID": "none"}
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_APPEND | os.O_CREAT), number)
    run_as(order, rank)


def run_as(order: dict, rank: int) -> NoReturn:
    """What a script's last lines and its first do."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    sys.argv = [f"{order['script']}.py", *order["arguments"]]
    interrupts.end_at_once_until_run()
    torchrun.end_with_torchrun()
    figures.save = lambda *arguments, **options: None
    terminal.SECONDS_A_LINE = 0.0
    status: object = 1
    try:
        exec(order["sabotage"].get(str(rank), ""), {})
        run(importlib.import_module(order["script"]).main, order["arguments"])
    except SystemExit as ended:
        status = ended.code
    except Exception as error:
        traceback.print_exception(error)
    finally:
        sys.stdout.flush()
        os._exit(int(status or 0))


def statuses_of(pids: list[int], are_told: bool) -> list[int]:
    statuses: dict[int, int] = {}
    told = not are_told
    while len(statuses) < len(pids):
        for pid in set(pids) - set(statuses):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                statuses[pid] = os.waitstatus_to_exitcode(status)
        if any(statuses.values()) and not told:
            told = True
            for pid in set(pids) - set(statuses):
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.02)
    return [statuses[pid] for pid in pids]


if __name__ == "__main__":
    main()
