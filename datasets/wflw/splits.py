"""The splits of WFLW."""

#: Difficulties of a face, in the order of the original annotations; each has a subset of the test split.
ATTRIBUTES = ("largepose", "expression", "illumination", "makeup", "occlusion", "blur")
#: The splits that are evaluated.
SPLITS = ("test", *(f"test_{attribute}" for attribute in ATTRIBUTES))
TRAIN = "train"
