"""`make fuzz`: ten minutes of coverage-guided fuzzing of every dialect's parser, in an environment of its own.

python -m tests.fuzz [FOLDER] [SECONDS]
"""

import gzip
import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.conformance.__main__ import environment
from tests.fuzz.words import WORDS

ROOT: Final = Path(__file__).parent.parent.parent
SECONDS: Final = 600
#: Bounds of one input: bytes, seconds, and MB of the whole process, which takes about 150 by itself.
LIMITS: Final = ("-max_len=20000", "-timeout=20", "-rss_limit_mb=1000")

ROWS: Final = [[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, None, 1.3]]
RECORD: Final = {"age": 31, "income": 1.5, "town": "Bern", "member": True}
TENSOR: Final = {"name": "x", "shape": [2, 4], "datatype": "FP64", "data": ROWS}
COLUMNS: Final = [
    {"name": "t", "shape": [1, 1], "datatype": "BYTES", "data": ["2026-01-01T00:00:00.123456789Z"]},
    {"name": "n", "shape": [1], "datatype": "INT64", "data": [9007199254740993]},
]
BODIES: Final = [
    {"data": ROWS, "method": "predict_proba", "include": ["classes"]},
    {"data": [RECORD, RECORD]},
    {"data": {"columns": list(RECORD), "data": [list(RECORD.values())]}},
    {"input_data": {name: [value] for name, value in RECORD.items()}},
    {"data": [{"t": "2026-01-01", "n": 1}]},
    {"data": ["cheap offer", "see you"]},
    {"instances": ROWS},
    {"instances": [{"x": ROWS[0]}]},
    {"dataframe_split": {"columns": list(RECORD), "index": [0], "data": [list(RECORD.values())]}},
    {"dataframe_records": [RECORD], "params": {"method": "predict"}},
    {"inputs": ROWS},
    {"inputs": [TENSOR], "id": "1", "outputs": [{"name": "predict"}, {"name": "predict_proba"}, {"name": "classes"}]},
    {"inputs": [TENSOR], "outputs": [{"name": "predict_proba", "parameters": {"classification": 2}}]},
    {"inputs": COLUMNS, "parameters": {"content_type": "pd", "binary_data_output": True}},
]
BINARY: Final = [
    ({"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}, b"\0\0\x80?" * 4),
    ({"name": "x", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": 11}}, b"\1\0\0\0a\2\0\0\0bc"),
]


def seeds() -> Iterator[bytes]:
    """Right requests of every dialect, to every kind of model."""
    texts = [json.dumps(body).encode() for body in BODIES]
    for choice in range(28):  # a dialect and a model
        for text in texts:
            yield bytes([choice, 0]) + text
        yield bytes([choice, 1]) + b"age,income,town,member\n31,1.5,Bern,true\n"
        for spec, binary in BINARY:
            yield bytes([choice, 2]) + json.dumps({"inputs": [spec]}).encode() + b"\0" + binary
        yield bytes([choice, 3]) + gzip.compress(texts[0], mtime=0)
        yield bytes([choice, 4]) + zlib.compress(texts[0])
        yield (
            bytes([choice, 5]) + b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nc\r\n--x--\r\n'
        )
        yield bytes([choice, 0x80]) + b"data=[[1,2,3,4]]&method=predict&classes=1&nonfinite=string"


def main(folder: Path, seconds: int) -> int:
    """The exit code of the fuzzer: 0 when nothing was found. What was found lies in `folder`."""
    python = environment("environment", ["atheris", "-e", str(ROOT)], folder, "atheris")
    for name in ("seeds", "corpus", "found"):
        (folder / name).mkdir(exist_ok=True)
    for number, seed in enumerate(seeds()):
        (folder / "seeds" / f"{number:03}").write_bytes(seed)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in WORDS))
    command = [python, "-m", "tests.fuzz.adapters", f"-max_total_time={seconds}", f"-artifact_prefix={folder}/found/"]
    told = [f"-dict={folder}/words", "-seed=1", "-len_control=0", "-print_final_stats=1", "-verbosity=1", *LIMITS]
    return subprocess.run([*command, *told, folder / "corpus", folder / "seeds"], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else ".fuzz").resolve()
    place.mkdir(exist_ok=True)
    sys.exit(main(place, int(sys.argv[2]) if len(sys.argv) > 2 else SECONDS))
