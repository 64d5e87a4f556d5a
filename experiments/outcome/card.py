"""The model card: `README.md` of a bundle, made from what `bundle.json` says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from shiftsearch.data.fitting import ASPECT_DONE
from shiftsearch.experiments.outcome.card_figures import CHANGE, CONFUSION, figures
from shiftsearch.experiments.outcome.card_numbers import (
    calibration,
    classes_of,
    confusion,
    counts_of,
    held_out_line,
    numbers,
)
from shiftsearch.experiments.outcome.markdown import code, document, plain, table
from shiftsearch.experiments.outcome.result_rows import model_in_words
from shiftsearch.model.architecture import Own
from shiftsearch.model.bundle_facts import Facts, facts_of
from shiftsearch.model.bundle_format import Record
from shiftsearch.model.formats import FORMATS
from shiftsearch.model.size import network_size

CARD = "README.md"
STEPS = {
    "bright_on_dark": "images with a border brighter than their mean are inverted",
    "mass": "the centre of mass is moved to the middle, by whole pixels",
    "standardise": "each image gets the same mean and standard deviation",
    "stretch": "each image is stretched between its 1st and 99th percentile",
    "equalise": "contrast is raised part by part (CLAHE)",
}
SCALES = {"uint8": "uint8 in 0..255", "float 0..1": "floats in 0..1", None: "uint8 in 0..255"}
HOLDS = {
    "load.py": "the model without shiftsearch; needs torch and safetensors",
    "classifier.py": "part of load.py",
    "baseline.safetensors": "weights before fine-tuning",
    "model.onnx": "for ONNX Runtime and others, preprocessing inside",
    "model.pt2": "for torch.export.load, preprocessing inside",
}
SHOWS = {
    CHANGE: "Accuracy of each class, before and after fine-tuning",
    CONFUSION: "Confusion matrix after fine-tuning",
}
MAX_COLUMNS = 16
"""Most classes that have a column each."""


def card(record: Record[Any], sizes: Mapping[str, int]) -> dict[str, bytes]:
    """The files of the card of a bundle: `README.md`, in Markdown, and its figures.

    Args:
        record: the content of `bundle.json`.
        sizes: of the other files of the bundle, in bytes.

    Raises:
        model.bundle_format.BundleError: the record's `model` is not as shiftsearch writes it.
    """
    drawn = figures(record)
    return {CARD: _text(record, sizes, drawn).encode(), **drawn}


def _text(record: Record[Any], sizes: Mapping[str, int], drawn: Collection[str]) -> str:
    facts = facts_of(record)
    title = plain(facts.name) if facts.name else "An image classifier"
    return document(
        [
            (f"# {title}", [_what_it_is(record), _summary(record, facts)]),
            ("## Accuracy", numbers(record, facts)),
            (
                "## Each class",
                [
                    *classes_of(record),
                    [f"![{SHOWS[CHANGE]}]({CHANGE})"] if CHANGE in drawn else [],
                    *confusion(record),
                    [f"![{SHOWS[CONFUSION]}]({CONFUSION})"] if CONFUSION in drawn else [],
                ],
            ),
            ("## Probabilities", calibration(record, facts)),
            ("## Use it", _how_to_load(record, sizes)),
            ("## Files", [_files(record, sizes, facts)]),
            ("## Preprocessing", [_preprocessing(record)]),
            ("## Data", _data(record, facts)),
            ("## Intended use and limits", [_limits(record)]),
            ("## Made with", [_versions(record)]),
        ]
    )


def _what_it_is(record: Record[Any]) -> list[str]:
    height, width = record.preprocessing.size
    names = ", ".join(map(plain, record.classes))
    return [
        f"It classifies gray images of {height} x {width} pixels into {len(record.classes)}"
        f" classes: {names}. It was trained on the split TRAIN, and then fine-tuned on TEST for"
        " images like those of TEST2."
    ]


def _summary(record: Record[Any], facts: Facts) -> list[str]:
    networks = [record.architecture, *(m.architecture for m in record.members)]
    sizes = [network_size(a, a.classes, a.image_size) for a in networks]
    made = f"trial {record.study.number}, replicate {record.study.replicate}"
    if facts.members:
        made = model_in_words(facts.model_dump(exclude_none=True))
    rows = [["made of", plain(made)]]
    rows += [["why", plain(facts.reason)]] if facts.reason else []
    rows += [
        ["network", plain(record.architecture.description)],
        ["parameters", f"{sum(s.parameters for s in sizes):,}"],
        ["multiply-adds of an image", f"{sum(s.multiply_adds for s in sizes):,}"],
        ["accuracy", held_out_line(record)],
        ["licence", plain(facts.licence) or "not stated"],
    ]
    return table(rows[0], rows[1:])


def _how_to_load(record: Record[Any], sizes: Mapping[str, int]) -> list[list[str]]:
    (height, width), count = record.preprocessing.size, len(record.classes)
    network = ", network=FUNCTION" if isinstance(record.architecture, Own) else ""
    taken = SCALES.get(record.preprocessing.scale, "floats in 0..255")
    blocks = [
        [f"FOLDER is this folder. `images` is an array [N, {height}, {width}], {taken}."],
        code(
            "python",
            "import shiftsearch",
            "",
            f'model = shiftsearch.load("FOLDER"{network})',
            f"probabilities = model.predict_proba(images)  # [N, {count}], rows with sum 1",
            "names = [model.classes[i] for i in probabilities.argmax(1)]",
        ),
        code(
            "", "shiftsearch predict FOLDER IMAGE_OR_FOLDER...", "shiftsearch evaluate FOLDER DATA"
        ),
    ]
    if "load.py" in sizes:
        blocks += [
            ["In this folder, with torch and safetensors alone:"],
            code(
                "python",
                "import load, torch",
                "",
                f"model = load.load({'FUNCTION' if network else ''})",
                "with torch.no_grad():",
                "    probabilities = model(torch.from_numpy(images))",
            ),
        ]
    if FORMATS["onnx"].file in sizes:
        blocks += [
            ["In this folder, with onnxruntime alone:"],
            code(
                "python",
                "import onnxruntime",
                "",
                'session = onnxruntime.InferenceSession("model.onnx")',
                'probabilities = session.run(["probabilities"], {"images": images})[0]',
            ),
        ]
    return blocks


def _files(record: Record[Any], sizes: Mapping[str, int], facts: Facts) -> list[str]:
    weights = dict.fromkeys(["model.safetensors", *(m.file for m in record.members)], "weights")
    holds = {**weights, **HOLDS}
    parities = {parity.file: parity for parity in facts.formats.values()}
    rows = []
    for name in sorted(holds.keys() & sizes.keys()):
        compared = "-"
        if (parity := parities.get(name)) is not None:
            kind = "images of TEST" if parity.real else "made images"
            compared = f"{parity.difference:.1e} on {parity.images} {kind}, all classes equal"
        rows.append([f"`{name}`", _size(sizes[name]), holds[name], compared])
    rows.append(["`bundle.json`", "-", "all that this card says, and the configuration", "-"])
    differs = "largest difference of a probability from PyTorch"
    return table(["file", "size", "holds", differs], rows)


def _size(count: int) -> str:
    size = f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
    return size.replace(" ", "\N{NO-BREAK SPACE}")


def _preprocessing(record: Record[Any]) -> list[str]:
    how = record.preprocessing
    taken = SCALES.get(how.scale, "floats in 0..255")
    lines = [
        f"- Images are {taken}; `predict` resizes those of another size; of another aspect ratio,"
        f" they are {ASPECT_DONE[how.aspect]}."
    ]
    each = [how, *(member.preprocessing for member in record.members)]
    found = [
        [
            STEPS.get(step, step)
            for name in ("polarity", "centre", "intensity")
            if (step := getattr(one, name)) != "none"
        ]
        for one in each
    ]
    for i, steps in enumerate(found, start=1):
        of = f"- Network {i}: " if len(each) > 1 else "- "
        lines.append(of + ("; ".join(steps) or "No further step") + ".")
    return lines


def _data(record: Record[Any], facts: Facts) -> list[list[str]]:
    held_out = len(record.division.held_out)
    uses = {
        "TRAIN": "trained the baseline",
        "TEST": "chose the baseline's epoch, then trained the fine-tune",
        "TEST2": f"{held_out} images held out; the others chose the fine-tune's epoch, the"
        " configuration and the model",
    }
    names = record.classes if len(record.classes) <= MAX_COLUMNS else ()
    rows = [
        [split, uses.get(split, "-"), str(sum(counts)), *(map(str, counts) if names else ())]
        for split, counts in counts_of(record, facts).items()
    ]
    header = ["split", "use", "images", *map(plain, names)]
    return [
        table(header, [[*map(plain, row)] for row in rows], 2) if rows else [],
        [
            f"Digest of the whole dataset: `{plain(record.dataset_digest)}`; of TEST2:"
            f" `{plain(record.division.test2_digest)}`."
        ],
    ]


def _limits(record: Record[Any]) -> list[str]:
    return [
        "- It is meant for images that are made in the same way as those of TEST2. For others,"
        " score it first on images with known classes: `shiftsearch evaluate FOLDER DATA`.",
        f"- Every image gets one of the {len(record.classes)} classes, also one that shows"
        " something else. Low probabilities do not reliably tell such images.",
        "- Intervals are over images: how the accuracy varies with other images of the same kind."
        " Training again under another seed gives another model, and another accuracy.",
        "- Nothing was measured about groups of images within a class.",
    ]


def _versions(record: Record[Any]) -> list[str]:
    rows = [[plain(name), plain(version)] for name, version in record.versions.items()]
    seed = record.study.seed
    rows.append(
        [
            "study seed, trial, replicate",
            f"{seed}, {record.study.number}, {record.study.replicate}",
        ]
    )
    return table(["", "version"], rows)
