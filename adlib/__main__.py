"""Score images with a saved detector from a shell.

    python -m adlib my_parts.safetensors new_parts --csv scores.csv --overlays pictures

A detector is trained and saved by `notebooks/your_images.ipynb`, or in Python: see `adlib.Detector`.
"""

import argparse
import os
import sys
from pathlib import Path

import adlib
from adlib.files import UNPRINTABLE, check_writable, printable, whole_file


def main(words: list[str] | None = None) -> int:
    """Print or write the scores, the worst first; return 1 where an image alarms, 0 where none does, 2 for an error."""
    parser = argparse.ArgumentParser(
        prog="python -m adlib", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detector", type=Path, help="what Detector.save wrote (.safetensors)")
    parser.add_argument("images", type=Path, help="a folder, with its sub-folders, or one image")
    parser.add_argument("--csv", type=Path, help="where the scores go; else they are printed")
    parser.add_argument("--overlays", type=Path, help="a folder for a picture of each image with its map")
    parser.add_argument("--false-alarm-rate", type=float, help="choose the threshold anew, between 0 and 1")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options = parser.parse_args(words)
    try:
        if options.csv is not None:
            if options.csv.expanduser().is_dir():
                raise IsADirectoryError(f"{options.csv} is a folder: name the file that the scores go into")
            check_writable(options.csv.expanduser().absolute().parent)
        detector = adlib.Detector.load(options.detector, options.device)
        if options.false_alarm_rate is not None:
            detector.choose_threshold(options.false_alarm_rate)
        scores = detector.score(options.images, overlays=options.overlays, progress=sys.stderr.isatty())
        if options.csv is not None:
            with whole_file(options.csv.expanduser()) as temporary:
                scores.to_csv(temporary, index=False, errors=UNPRINTABLE)
        else:
            print(printable(scores.to_string(index=False)), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python's last flush fails once more
        print("error: not all scores could be printed, as nothing reads them any more", file=sys.stderr)
        return 2
    except Exception as error:  # whatever it is: an exit by traceback has the status that means an alarm
        print(f"error: {error or type(error).__name__}", file=sys.stderr)
        return 2
    print(f"{int(scores['alarm'].sum())} of {len(scores)} images alarm. {detector.threshold}", file=sys.stderr)
    return int(scores["alarm"].any())


if __name__ == "__main__":
    sys.exit(main())
