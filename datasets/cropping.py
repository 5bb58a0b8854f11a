"""Face crops by their data set's name: the rule is WFLW-V's, and videos of one's own are cropped by it as well."""

from utils.cropping import FaceCrop, crop, crop_matrix, to_frame

__all__ = ["FaceCrop", "crop", "crop_matrix", "to_frame"]
