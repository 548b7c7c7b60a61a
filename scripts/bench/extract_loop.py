"""Extract files one after the other in one process: `python -m scripts.bench.extract_loop SPEC FROM TO`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from engine.files.extract_file import extract_file
from engine.files.extractor import Extractor


def main() -> None:
    spec, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    extractor = Extractor(spec)
    began = time.perf_counter()
    counts = [extract_file(extractor, file, target / file.name)["found"] for file in sorted(source.glob("*.parquet"))]
    print(json.dumps({"seconds": time.perf_counter() - began, "found": sum(counts)}))


if __name__ == "__main__":
    main()
