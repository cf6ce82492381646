"""Writes LanceDB's tables into the directory that the store serves: one for each index, that share their files of vectors by hard links."""

import json
import os
import shutil
import sys
import time
from datetime import timedelta
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa

BATCH = 20_000
COLUMN = "vector"


def batches(base, schema):
    for start in range(0, len(base), BATCH):
        # Single precision, LanceDB's own: its training with half precision takes many times longer.
        rows = np.ascontiguousarray(base[start : start + BATCH], dtype=np.float32)
        values = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
        yield pa.record_batch([pa.array(np.arange(start, start + len(rows))), values], schema=schema)


def written(folder, name, base_path):
    """The table without an index."""
    path = Path(folder) / f"{name}.lance"
    if not path.exists():
        base = np.load(base_path, mmap_mode="r")
        kind = pa.list_(pa.float32(), base.shape[1])
        schema = pa.schema([("id", pa.int64()), (COLUMN, kind)])
        reader = pa.RecordBatchReader.from_batches(schema, batches(base, schema))
        lancedb.connect(str(folder)).create_table(name, reader, schema=schema)
    return path


def indexed(folder, name, setting, base_path, metric, options):
    """The table with one index. It appears under its name when it is complete."""
    path = Path(folder) / f"{name}_{setting}.lance"
    draft = path.with_suffix(".draft.lance")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(written(folder, name, base_path), draft, copy_function=os.link)
    opened = lancedb.connect(str(folder)).open_table(draft.name.removesuffix(".lance"))
    begun = time.perf_counter()
    opened.create_index(metric=metric, vector_column_name=COLUMN, wait_timeout=timedelta(hours=1), **options)
    print(f"{path.name}: indexed in {time.perf_counter() - begun:.0f} s", flush=True)
    draft.rename(path)


if __name__ == "__main__":
    indexed(*sys.argv[1:6], json.loads(sys.argv[6]))
