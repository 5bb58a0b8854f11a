"""A live window."""

import subprocess
import sys
from contextlib import suppress

import cv2
import numpy as np
from numpy.typing import NDArray

from ldeq import InputError

_PROBE = "import cv2, numpy; cv2.imshow('probe', numpy.zeros((8, 8), numpy.uint8)); cv2.waitKey(1)"


class Window:
    """Shows frames (H, W, 3) RGB as they come. Closing it, or q or Esc in it, asks the run to stop.

    Raises:
        InputError: where there is no display or this OpenCV has no windows.
    """

    def __init__(self, title: str) -> None:
        # Without a display OpenCV's toolkit ends the whole process, so another process tries first.
        try:
            shown = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=60).returncode == 0
        except subprocess.TimeoutExpired:
            shown = False
        if not shown:
            raise InputError(
                "--show: no window can be opened here, expected a display (DISPLAY or WAYLAND_DISPLAY) "
                "and an OpenCV that is not the headless one"
            )
        self._title = title
        self._opened = False

    def show(self, frame: NDArray[np.uint8]) -> bool:
        """Shows a frame; false once the user wants to stop."""
        if not self._opened:
            height, width = frame.shape[:2]
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(self._title, *(round(side * max(1.0, 640 / height)) for side in (width, height)))
            self._opened = True
        cv2.imshow(self._title, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(1) & 0xFF
        try:
            visible = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # as Qt has it where the window has been closed
            visible = False
        return visible and key not in (ord("q"), 27)

    def close(self) -> None:
        if self._opened:
            with suppress(cv2.error):  # closed by its user
                cv2.destroyWindow(self._title)
