"""A model file with YuNet's outputs that finds a face wherever a patch of 32 pixels is white."""

import numpy as np

STRIDES = (8, 16, 32)
#: Logarithms of width and height of the boxes, in strides.
BOX = (1.0, 1.2)


def model() -> bytes:
    """ONNX, written out by hand: for each output a convolution over a patch, made a list of cells."""
    nodes, weights, outputs = [], [], []
    for kind, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in STRIDES:
            name = f"{kind}_{stride}"
            # Only the coarsest cells see anything.
            gain = 1 / (3 * 255 * stride**2) if channels == 1 and stride == STRIDES[-1] else 0.0
            bias = np.zeros(channels, np.float32)
            if kind == "bbox":
                bias[2:] = BOX
            weights.append(tensor(f"{name}_w", np.full((channels, 3, stride, stride), gain, np.float32), 1))
            weights.append(tensor(f"{name}_b", bias, 1))
            weights.append(tensor(f"{name}_shape", np.array([1, -1, channels], np.int64), 7))
            conv = [attribute("kernel_shape", [stride] * 2), attribute("strides", [stride] * 2)]
            nodes.append(node("Conv", ["input", f"{name}_w", f"{name}_b"], f"{name}_1", conv))
            nodes.append(node("Transpose", [f"{name}_1"], f"{name}_2", [attribute("perm", [0, 2, 3, 1])]))
            nodes.append(node("Reshape", [f"{name}_2", f"{name}_shape"], name, []))
            outputs.append(value(name, [1, -1, channels]))
    parts = [field(1, n) for n in nodes] + [field(2, b"fake")] + [field(5, w) for w in weights]
    parts += [field(11, value("input", [1, 3, 320, 320]))] + [field(12, o) for o in outputs]
    return number(1, 7) + field(8, number(2, 11)) + field(7, b"".join(parts))


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    head = b""
    while value > 127:
        head += bytes([value & 127 | 128])
        value >>= 7
    return head + bytes([value])


def number(key: int, value: int) -> bytes:
    return varint(key << 3) + varint(value)


def field(key: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return varint(key << 3 | 2) + varint(len(content)) + content


def tensor(name: str, values: np.ndarray, kind: int) -> bytes:
    dims = b"".join(number(1, side) for side in values.shape)
    return dims + number(2, kind) + field(8, name) + field(9, values.tobytes())


def attribute(name: str, values: list[int]) -> bytes:
    return field(1, name) + b"".join(number(8, value) for value in values) + number(20, 7)


def node(kind: str, inputs: list[str], output: str, attributes: list[bytes]) -> bytes:
    parts = [field(1, name) for name in inputs] + [field(2, output), field(3, output), field(4, kind)]
    return b"".join(parts + [field(5, one) for one in attributes])


def value(name: str, shape: list[int]) -> bytes:
    dims = b"".join(field(1, number(1, side) if side > 0 else field(2, "n")) for side in shape)
    return field(1, name) + field(2, field(1, number(1, 1) + field(2, dims)))
