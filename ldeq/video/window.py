"""A live window, by OpenCV where its build has windows, else by tkinter."""

import re
import subprocess
import sys
from contextlib import suppress
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ldeq.errors import InputError

_PROBE = "import cv2, numpy; cv2.imshow('probe', numpy.zeros((8, 8), numpy.uint8)); cv2.waitKey(1)"
#: Smaller frames are shown larger, at about this height in pixels.
_HEIGHT = 640


class _Toolkit(Protocol):
    def show(self, frame: NDArray[np.uint8]) -> bool: ...
    def close(self) -> None: ...


class Window:
    """Shows frames (H, W, 3) RGB as they come. Closing it, or q or Esc in it, asks the run to stop.

    Raises:
        InputError: where no window can be opened.
    """

    def __init__(self, title: str) -> None:
        self._toolkit: _Toolkit
        if _opencv_has_windows():
            self._toolkit = _OpenCVWindow(title)
            return
        try:
            self._toolkit = _TkWindow(title)
        except Exception as error:  # no tkinter, or a display that it does not get
            raise InputError(
                f"no window can be opened here ({str(error).splitlines()[0]}), expected a display (DISPLAY or "
                "WAYLAND_DISPLAY), and tkinter or an OpenCV that is not the headless one"
            ) from None

    def show(self, frame: NDArray[np.uint8]) -> bool:
        """Shows a frame; false once the user wants to stop."""
        return self._toolkit.show(frame)

    def close(self) -> None:
        self._toolkit.close()


def _opencv_has_windows() -> bool:
    toolkit = re.search(r"GUI:\s*(\S+)", cv2.getBuildInformation())
    if toolkit is None or toolkit[1] == "NONE":
        return False
    # Without a display OpenCV's toolkit ends the whole process, so another process tries first.
    try:
        return subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=60).returncode == 0
    except subprocess.TimeoutExpired:
        return False


class _OpenCVWindow:
    def __init__(self, title: str) -> None:
        self._title = title
        self._opened = False

    def show(self, frame: NDArray[np.uint8]) -> bool:
        if not self._opened:
            height, width = frame.shape[:2]
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(self._title, *(round(side * max(1.0, _HEIGHT / height)) for side in (width, height)))
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


class _TkWindow:
    def __init__(self, title: str) -> None:
        import tkinter

        self._root = tkinter.Tk(className="LDEQ")
        self._root.title(title)
        self._label = tkinter.Label(self._root)
        self._label.pack()
        self._image: Any = None  # tkinter shows nothing that only it refers to
        self._wants_to_stop = False
        self._root.protocol("WM_DELETE_WINDOW", self._stop)
        for key in ("q", "<Escape>"):
            self._root.bind(key, lambda event: self._stop())

    def _stop(self) -> None:
        self._wants_to_stop = True

    def show(self, frame: NDArray[np.uint8]) -> bool:
        from PIL import Image, ImageTk

        height, width = frame.shape[:2]
        scale = max(1.0, _HEIGHT / height)
        # Larger than the screen it could not be closed.
        scale = min(scale, self._root.winfo_screenwidth() / width, self._root.winfo_screenheight() / height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        shown = frame if size == (width, height) else cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
        self._image = ImageTk.PhotoImage(Image.fromarray(np.asarray(shown, dtype=np.uint8)), master=self._root)
        self._label.configure(image=self._image)
        self._root.update()
        return not self._wants_to_stop

    def close(self) -> None:
        import tkinter

        with suppress(tkinter.TclError):
            self._root.destroy()
