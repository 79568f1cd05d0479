"""The safetensors layout: u64 header length, JSON header, then the raw little-endian tensors."""

import json
import struct

import numpy

TYPES = {"F64": "<f8", "F32": "<f4", "I32": "<i4"}
NAMES = {numpy.dtype(code): name for name, code in TYPES.items()}


def write(path, arrays, metadata):
    """Arrays by name (float64, float32 or int32) and a string-to-string metadata map."""
    header, offset = {"__metadata__": metadata}, 0
    for name, array in arrays.items():
        end = offset + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape),
                        "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(array.tobytes())


def read(path):
    """(arrays, metadata) of a file that `write` wrote."""
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8:8 + length])
    metadata = header.pop("__metadata__")
    data = content[8 + length:]
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        arrays[name] = numpy.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays, metadata
