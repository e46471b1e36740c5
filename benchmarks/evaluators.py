"""Time and memory of the evaluators, beside a plain restatement of the same rules.

    python -m benchmarks.evaluators [--protocol=hico,hico_ppdm,vcoco_ppdm] [--images=9658]
        [--repeats=3] [--output=FILE]
    python -m benchmarks.evaluators --protocol=vcoco --predictions=FILE --ground_truth=FILE
        [--instances=FILE]

For each protocol: wall time and peak memory of the command, start-up and reading included; the time
of `evaluate` on entries in memory and of the tests' oracle, which goes through the predictions one
by one; and the largest difference of any AP between the two. The files are made, of as many images
as HICO-DET's test set has, unless some are given; V-COCO's scenarios need its own files.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import timing
from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import hico, vcoco
from ggnet_jax.io import read_json, write_json
from tests import evaluation_scenes
from tests.oracles import plain_evaluation

REPOSITORY = Path(__file__).resolve().parents[1]
PROTOCOLS = ("hico", "hico_ppdm", "vcoco", "vcoco_ppdm")
FILES = ("predictions", "ground_truth", "instances")
# Linux counts a child's peak from its parent's memory on, save in this line of its status.
TELLING_ITS_PEAK = """
import atexit, pathlib, runpy, sys
def tell():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    print(next(line for line in lines if line.startswith("VmHWM")), file=sys.stderr)
atexit.register(tell)
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def make_files(name: str, images: int, folder: Path) -> dict[str, Path]:
    """Write random predictions and ground truth of a vocabulary, once; their paths by option."""
    paths = {option: folder / f"{name}_{option}.json" for option in FILES[:2]}
    if not all(path.is_file() for path in paths.values()):
        vocabulary = vocabularies.load(name)
        scenes = evaluation_scenes.random_scenes(0, images=images, vocabulary=vocabulary)
        for path, entries in zip(paths.values(), scenes, strict=True):
            write_json(path, entries, depth=1)
    return paths


def evaluate(protocol: str, entries: Sequence[Any]) -> list[float]:
    """The APs of our evaluator."""
    if protocol.startswith("hico"):
        options = {"protocol": "ppdm"} if protocol == "hico_ppdm" else {}
        result = hico.evaluate(*entries, **options)
    else:
        result = vcoco.evaluate(*entries)
    return [ap for name in result.settings if name != "agent" for ap in result[name].ap.tolist()]


def evaluate_plainly(protocol: str, entries: Sequence[Any]) -> list[float]:
    """The same by the oracle of the tests."""
    hico_det, v_coco = vocabularies.load("hico_det"), vocabularies.load("v_coco")
    predictions, truth, *instances = entries
    if protocol == "hico":
        settings = list(plain_evaluation.hico(predictions, truth, hico_det).values())
    elif protocol == "hico_ppdm":
        settings = [plain_evaluation.hico_ppdm(predictions, truth, hico_det)]
    elif protocol == "vcoco_ppdm":
        settings = [plain_evaluation.vcoco_ppdm(predictions, truth, v_coco.verb_ids)]
    else:
        verbs = dict(zip(v_coco.verb_ids, v_coco.verbs, strict=True))
        settings = [
            plain_evaluation.vcoco(predictions, truth, instances[0], verbs, any_object=any_object)
            for any_object in (False, True)
        ]
    return [ap for aps in settings for ap in aps.values()]


def run_command(protocol: str, files: Mapping[str, Path]) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of an evaluator's command.

    Raises:
        RuntimeError: it failed.
    """
    module = f"ggnet_jax.evaluation.{protocol.removesuffix('_ppdm')}"
    command = [sys.executable, "-c", TELLING_ITS_PEAK, module]
    command += [f"--{option}={path.resolve()}" for option, path in files.items()]
    if protocol == "hico_ppdm":
        command.append("--protocol=ppdm")
    start = time.perf_counter()
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    took = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{module} failed: {done.stderr}")
    return took, int(done.stderr.split()[-2]) / 1024


def measure(protocol: str, files: Mapping[str, Path], repeats: int) -> dict[str, Any]:
    """A protocol's row.

    Raises:
        UserError: the files cannot be evaluated.
    """
    entries = [read_json(path) for path in files.values()]
    found = evaluate(protocol, entries)
    calls = {"": lambda: evaluate(protocol, entries)}
    took = timing.time_in_turn(calls, repeats, warm_ups=0)[""]
    start = time.perf_counter()
    expected = evaluate_plainly(protocol, entries)
    plain = time.perf_counter() - start
    runs = [run_command(protocol, files) for _ in range(repeats)]
    difference = float(np.nanmax(np.abs(np.array(found) - np.array(expected))))
    return {
        "protocol": protocol,
        "predicted_images": len(entries[0]),
        "command_seconds": timing.seconds([wall for wall, _ in runs]),
        "peak_megabytes": max(peak for _, peak in runs),
        "seconds": took,
        "oracle_seconds": plain,
        "difference": difference,
        "agrees": difference < 1e-9,
    }


def report(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the table."""
    return {
        "protocol": row["protocol"],
        "predicted images": row["predicted_images"],
        "command, ms (min to max)": row["command_seconds"].ms(),
        "its peak, MB": timing.figure(row["peak_megabytes"]),
        "evaluate, ms (min to max)": row["seconds"].ms(),
        "oracle, ms": timing.figure(1000 * row["oracle_seconds"]),
        "difference": f"{row['difference']:.0e}" + ("" if row["agrees"] else ", TOO LARGE"),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if an evaluator's APs are not the oracle's."""
    usual = ["hico", "hico_ppdm", "vcoco_ppdm"]
    parser = timing.parser(__doc__, protocol=(PROTOCOLS, usual), images=9658, repeats=3)
    for option in FILES:
        parser.add_argument(f"--{option}", type=Path, help="a file, as the evaluators take it")
    arguments = parser.parse_args(argv)
    given = {option: path for option in FILES if (path := getattr(arguments, option))}
    if given and not set(FILES[:2]) <= given.keys():
        parser.error("give both --predictions and --ground_truth, or neither")
    if "vcoco" in arguments.protocol and len(given) < len(FILES):
        parser.error("vcoco needs --predictions, --ground_truth and --instances")
    machine = timing.machine("NumPy on the CPU")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for protocol in arguments.protocol:
            vocabulary = "hico_det" if protocol.startswith("hico") else "v_coco"
            files = given or make_files(vocabulary, arguments.images, Path(folder))
            try:
                rows.append(measure(protocol, files, arguments.repeats))
            except UserError as error:
                parser.error(str(error))
    print(timing.table(map(report, rows)))
    timing.write(arguments.output, machine, rows)
    return int(not all(row["agrees"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
