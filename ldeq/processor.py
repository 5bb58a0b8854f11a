"""The processor: its name, and those of its instructions that decide how fast a network runs on it."""

import platform
from contextlib import suppress
from functools import cache

#: Instructions that matter, as Linux names them.
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8", "asimd", "bf16")


def cpu_name() -> str:
    """The processor as the system calls it. Some clouds call processors of different instructions alike."""
    for key, value in _description():
        if key == "model name":
            return value
    return platform.processor() or platform.machine()


def cpu_features() -> list[str]:
    """Those of :data:`FEATURES` that the processor has, where the system says so."""
    words = {word for key, value in _description() if key in ("flags", "features") for word in value.split()}
    return [feature for feature in FEATURES if feature in words]


@cache
def _description() -> list[tuple[str, str]]:
    """What Linux says of the processors, line by line; nothing on other systems."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        parts = [line.partition(":") for line in lines]
        return [(key.strip().lower(), value.strip()) for key, _, value in parts]
    return []
