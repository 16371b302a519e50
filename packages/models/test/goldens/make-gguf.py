"""Makes gguf/types.gguf and gguf/types.safetensors: a file of every tensor type and every type of metadata, and its numbers.

    python -m venv venv && venv/bin/pip install gguf==0.19.0 safetensors==0.8.0 "numpy<3"
    venv/bin/python make-gguf.py

types.gguf holds `x` [4, 256] in f32, `x.<type>` what the package quantizes it to, and `bits.<type>` [2, 256], blocks of
random bytes with finite scales. types.safetensors holds what the package dequantizes each to, in f32.
"""

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFValueType as V
from safetensors.numpy import save_file

HERE = Path(__file__).parent / "gguf"
QUANTIZED = [T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0]
# Where a block has numbers in half precision, which random bytes could make infinite.
HALVES = {
    T.F16: [0],
    T.Q4_0: [0],
    T.Q4_1: [0, 2],
    T.Q5_0: [0],
    T.Q5_1: [0, 2],
    T.Q8_0: [0],
    T.Q4_K: [0, 2],
    T.Q5_K: [0, 2],
    T.Q6_K: [208],
}


def numbers(rng: np.random.Generator) -> np.ndarray:
    x = rng.standard_normal((4, 256)).astype(np.float32)
    x[0, :32] = 0  # a block without a scale
    x[0, 32:64] = np.arange(-16, 16) / 16  # ties
    x[0, 64:96] *= 1e-7  # scales below the normal numbers of half precision
    x[0, 96:128] = -3.5
    x[1] *= 1000
    x[2, :8] = [65504, 65519.9, 65520, -1e-8, 6e-8, 2.0**-14, -(2.0**-24), 2.0**-25]
    return x


def main() -> None:
    rng = np.random.default_rng(7)
    HERE.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(HERE / "types.gguf", "test")
    for kind, value in {
        V.UINT8: 255,
        V.INT8: -128,
        V.UINT16: 65535,
        V.INT16: -32768,
        V.UINT32: 2**32 - 1,
        V.INT32: -(2**31),
        V.FLOAT32: 0.1,
        V.BOOL: True,
        V.STRING: "naïve.ünïcode 😀",
        V.UINT64: 2**64 - 1,
        V.INT64: -(2**63),
        V.FLOAT64: 1e300,
    }.items():
        writer.add_key_value(f"test.{kind.name.lower()}", value, kind)
    writer.add_array("test.strings", ["", "a", "\ufeffb"])
    writer.add_array("test.integers", [-1, 2, 3])
    writer.add_array("test.floats", [0.5, -0.25])
    writer.add_array("test.bools", [True, False])
    writer.add_key_value("test.longs", [2**63, 1], V.ARRAY, V.UINT64)
    expected: dict[str, np.ndarray] = {}
    x = numbers(rng)
    writer.add_tensor("x", x)
    expected["x"] = x
    for kind in QUANTIZED:
        with np.errstate(over="ignore"):
            data = gguf.quantize(x, kind)
        writer.add_tensor(f"x.{kind.name}", data, raw_dtype=kind)
        with np.errstate(invalid="ignore"):
            expected[f"x.{kind.name}"] = gguf.dequantize(data, kind)
    for kind, places in HALVES.items():
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (2 * 256 // elements, size), dtype=np.uint8)
        for at in places:
            halves = (rng.standard_normal(len(blocks)) * 2.0 ** rng.integers(-20, 4, len(blocks))).astype("<f2")
            blocks[:, at : at + 2] = halves.view(np.uint8).reshape(-1, 2)
        data = blocks.reshape(2, -1)
        writer.add_tensor(f"bits.{kind.name}", data, raw_dtype=kind)
        expected[f"bits.{kind.name}"] = gguf.dequantize(data, kind)
    doubles = rng.standard_normal((3, 5))
    writer.add_tensor("x.F64", doubles)
    expected["x.F64"] = doubles.astype(np.float32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file({name: np.ascontiguousarray(v) for name, v in expected.items()}, HERE / "types.safetensors")


if __name__ == "__main__":
    main()
