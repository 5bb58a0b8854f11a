"""Decoded video frames as RGB images, whatever their pixel format, colours and size."""

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray

#: Primaries near enough to those of a screen (BT.709's) to be shown as they are.
_NARROW_PRIMARIES = frozenset(
    {
        ColorPrimaries.BT709,
        ColorPrimaries.UNSPECIFIED,
        ColorPrimaries.BT470M,
        ColorPrimaries.BT470BG,
        ColorPrimaries.SMPTE170M,
        ColorPrimaries.SMPTE240M,
    }
)
#: Transfer characteristics of a high dynamic range.
_HDR = frozenset({ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67})
#: H.273's number of BT.2020 with constant luminance, which differs little from that with non-constant luminance.
_BT2020_CONSTANT_LUMINANCE = 10
#: H.273's names of the matrices that FFmpeg's converter refuses.
_REFUSED_MATRICES = {
    8: "YCgCo",
    _BT2020_CONSTANT_LUMINANCE: "BT.2020 with constant luminance",
    11: "SMPTE ST 2085",
    12: "chroma-derived",
    13: "chroma-derived with constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-R",
    17: "YCgCo-R",
}


class RgbConverter:
    """Converts the frames of one video to RGB, all to the size of the first.

    The pixels are to the bit those of OpenCV's ``VideoCapture``, which the published system reads, where its conversion
    succeeds: bicubic chroma, BT.601 where a file names no matrix, wide gamuts and high dynamic range brought to BT.709.
    Where it fails OpenCV says nothing and leaves black or old pixels: interlaced frames, and colours that FFmpeg does
    not convert. Here those frames are converted too: interlaced ones with the chroma of each field for itself, other
    colours as if they were BT.601's (:attr:`remark` says so).
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        #: A sentence's end on colours that are shown approximately.
        self.remark: str | None = None

    def __call__(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """The frame (H, W, 3) uint8 RGB, as it is coded, which may not be upright.

        Raises:
            av.FFmpegError: where the frame cannot be converted.
        """
        self._size = self._size or (frame.width, frame.height)
        try:
            converted = self._reformat(frame, *_destination(frame))
        except OSError:  # what is refused: "operation not supported"
            try:
                converted = self._reformat(frame, None, None)
            except OSError:
                number = int(frame.colorspace)
                bt2020 = number == _BT2020_CONSTANT_LUMINANCE
                converted = self._reformat(frame, None, None, Colorspace.BT2020 if bt2020 else Colorspace.ITU601)
                name = _REFUSED_MATRICES.get(number, f"number {number} of H.273")
                self.remark = f"its colours ({name}) are converted approximately"
        # By way of BGR, as OpenCV does it: FFmpeg rounds RGB otherwise.
        return np.asarray(cv2.cvtColor(converted.to_ndarray(), cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def _reformat(
        self,
        frame: av.VideoFrame,
        trc: int | None,
        primaries: int | None,
        matrix: Colorspace | None = None,
    ) -> av.VideoFrame:
        assert self._size is not None
        return self._reformatter.reformat(
            frame,
            *self._size,
            format="bgr24",
            src_colorspace=matrix,
            dst_colorspace=matrix,
            interpolation=Interpolation.BICUBIC,
            dst_color_trc=trc,
            dst_color_primaries=primaries,
            # Frames are decoded beside the network, which needs the other cores.
            threads=1,
        )


def _destination(frame: av.VideoFrame) -> tuple[int | None, int | None]:
    """Transfer characteristic and primaries that FFmpeg shows a frame in by default; None and None: its own."""
    is_hdr, is_wide = frame.color_trc in _HDR, frame.color_primaries not in _NARROW_PRIMARIES
    if not is_hdr and not is_wide:
        return None, None
    return (
        ColorTrc.BT709 if is_hdr else frame.color_trc,
        ColorPrimaries.BT709 if is_wide else frame.color_primaries,
    )
