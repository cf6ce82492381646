"""One fresh process of LanceDB: says that it is ready, then answers the queries whose rows it is told."""

import json
import sys
import time

import lancedb
import numpy as np


def main():
    asked = json.loads(sys.argv[1])
    queries = np.load(sys.argv[2], mmap_mode="r")
    options = {"endpoint": asked["endpoint"], "allow_http": "true", "aws_virtual_hosted_style_request": "false"}
    table = None
    print("ready", flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        vector = np.array(queries[wanted["row"]], dtype=np.float32)
        begun = time.perf_counter()
        if table is None:
            table = lancedb.connect("s3://lance", storage_options=options).open_table(asked["table"])
        search = table.search(vector, vector_column_name="vector").distance_type(asked["metric"]).limit(wanted["k"])
        for knob in ("nprobes", "refine_factor", "ef"):
            if knob in asked:
                search = getattr(search, knob)(asked[knob])
        found = search.select(["id", "_distance"]).to_arrow()
        seconds = time.perf_counter() - begun
        print(json.dumps({"ids": found["id"].to_pylist(), "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
