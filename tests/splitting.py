"""Split GGUFs, as gguf-py writes them."""

from __future__ import annotations

import gguf
import numpy as np


def split(whole, folder, most: int, **options) -> list:
    """Write a GGUF in parts of at most `most` tensors with gguf-py's writer, and return their paths in order."""
    reader = gguf.GGUFReader(whole)
    folder.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama", split_max_tensors=most, **options)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        sub_type = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type)
    for tensor in reader.tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        data = np.array(tensor.data).view(np.uint8).reshape((*tensor.data.shape[:-1], -1))
        raw = {} if tensor.tensor_type.name in {"F16", "F32"} else {"raw_dtype": tensor.tensor_type}
        writer.add_tensor(tensor.name, data.view(tensor.data.dtype).reshape(shape), **raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("*.gguf"))
