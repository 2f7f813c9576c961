"""Does the ranking hold? The study of the README, from nothing.

Run: ``uv run python tests/benchmarks/study.py --data FOLDER`` (``--small`` for a short one)

Builds a zoo of small teachers of CIFAR-100 and Fashion-MNIST classes, and studies them on target
tasks of ten CIFAR-100 classes and five Fashion-MNIST classes. Teachers and tasks share classes, but
no image. Four tasks served to choose the default score; they are reported apart. Everything lies in
``--work``: what was stopped goes on when it is started again.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from rayxkd.console import output_console
from rayxkd.distill import TrainingSettings
from rayxkd.study import StudySettings, ZooSettings, study
from rayxkd.study.results import Results
from rayxkd.study.show import markdown, print_reports
from rayxkd.study.zoo import build_zoo

# The superclasses of CIFAR-100 (Krizhevsky 2009), five classes each.
SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "containers": "bottle bowl can cup plate",
    "fruit": "apple mushroom orange pear sweet_pepper",
    "devices": "clock keyboard lamp telephone television",
    "furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "carnivores": "bear leopard lion tiger wolf",
    "buildings": "bridge castle house road skyscraper",
    "scenes": "cloud forest mountain plain sea",
    "herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles": "bicycle bus motorcycle pickup_truck train",
    "machines": "lawn_mower rocket streetcar tank tractor",
}
# Ten classes each: two superclasses, or one class of each of ten.
PAIRS = {
    "sea": ("aquatic_mammals", "fish"),
    "garden": ("flowers", "fruit"),
    "kitchen": ("containers", "devices"),
    "room": ("furniture", "people"),
    "crawling": ("insects", "invertebrates"),
    "beasts": ("carnivores", "herbivores"),
    "outside": ("buildings", "scenes"),
    "furry": ("medium_mammals", "small_mammals"),
    "old": ("reptiles", "trees"),
    "driving": ("vehicles", "machines"),
}
MIXED = {"mixed1": (0, range(10)), "mixed2": (1, range(10, 20)), "mixed3": (2, range(0, 20, 2))}
FASHION = {
    "clothes": "tshirt,pullover,coat,shirt,dress",
    "other_wear": "trouser,sandal,sneaker,ankle_boot,bag",
}
CHOSEN_ON = ("garden", "outside", "mixed1", "old")
STUDENTS_ON = ("sea", "kitchen", "beasts", "driving", "furry", "clothes", "garden")
SMALL, SMALL_STUDENTS_ON = ("sea", "garden", "driving", "clothes"), ("driving", "clothes")
# Teachers learn from the first hundred images of each class in a shuffle; tasks have the others.
TEACHERS_IMAGES, TASKS_IMAGES = "per_class=100&seed=7", "per_class=100:200&seed=7"


@dataclass(frozen=True)
class Target:
    """A target task."""

    name: str
    folder: str
    classes: tuple[str, ...]

    def address(self, data: Path, part: str, images: str = "") -> str:
        classes = ",".join(name.replace(",", "%2C") for name in self.classes)
        chosen = f"classes={classes}" + (f"&{images}" if images else "")
        return f"{data}/{self.folder}/{part}.parquet#{chosen}"


def targets() -> list[Target]:
    groups = {name: classes.split() for name, classes in SUPERCLASSES.items()}
    every = list(groups.values())
    found = {name: groups[first] + groups[second] for name, (first, second) in PAIRS.items()}
    found |= {name: [every[n][place] for n in numbers] for name, (place, numbers) in MIXED.items()}
    cifar = [Target(name, "cifar100", tuple(classes)) for name, classes in found.items()]
    fashion = [
        Target(name, "fashion_mnist", tuple(classes.split(",")))
        for name, classes in FASHION.items()
    ]
    return cifar + fashion


def extent(work: Path, *, small: bool) -> tuple[Path, list[Target]]:
    """Where a study lies below a folder, and its tasks."""
    if small:
        return work / "small", [target for target in targets() if target.name in SMALL]
    return work, targets()


def zoos(data: Path, work: Path, chosen: list[Target], *, small: bool) -> list[ZooSettings]:
    """Thirty teachers of CIFAR-100, six of Fashion-MNIST."""
    found = []
    for folder, count, classes in (
        ("cifar100", 8 if small else 30, (10, 20, 40)),
        ("fashion_mnist", 4 if small else 6, (4, 5, 6)),
    ):
        of_folder = [target for target in chosen if target.folder == folder]
        found.append(
            ZooSettings(
                data=f"{data}/{folder}/train.parquet#{TEACHERS_IMAGES}",
                test=f"{data}/{folder}/test.parquet",
                targets=tuple(target.address(data, "train") for target in of_folder),
                out=str(work / "zoo" / folder),
                teachers=count,
                classes=classes,
            )
        )
    return found


def test_images(target: Target, data: Path) -> str:
    """The test split; of Fashion-MNIST, which has more, training images that nobody else uses."""
    if target.folder == "fashion_mnist":
        return target.address(data, "train", "per_class=200:500&seed=7")
    return target.address(data, "test")


def settings(data: Path, work: Path, chosen: list[Target], *, small: bool) -> StudySettings:
    names = tuple(target.name for target in chosen)
    with_students = SMALL_STUDENTS_ON if small else STUDENTS_ON
    return StudySettings(
        repository=(str(work / "zoo"),),
        data=tuple(target.address(data, "train", TASKS_IMAGES) for target in chosen),
        test=tuple(test_images(target, data) for target in chosen),
        names=names,
        out=str(work / "study"),
        students_on=tuple(name for name in with_students if name in names),
        chosen_on=tuple(name for name in CHOSEN_ON if name in names),
        seeds=2 if small else 3,
        training=TrainingSettings(epochs=4),
    )


def kept(results: Results) -> str:
    """The ground truth as CSV: a row a teacher, a column for each task, kind and seed."""
    table = results.truth.to_pandas().dropna(subset=["teacher"])
    table["column"] = table["task"] + "/" + table["kind"].str.replace(" ", "_")
    students = table["kind"] == "student"
    table.loc[students, "column"] += "/" + table.loc[students, "seed"].astype(str)
    # Parts of the test images of a linear probe are equal in size.
    wide = table.pivot_table(index="teacher", columns="column", values="accuracy")
    text: str = wide.to_csv(float_format="%.3f")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--work", type=Path, default=Path(".bench/study"))
    parser.add_argument(
        "--small", action="store_true", help="12 teachers, 4 tasks (2 with students), 2 seeds"
    )
    parser.add_argument("--students-on", help="tasks with students, with commas; by default seven")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--keep", type=Path, help="write the ground truth to this CSV file")
    options = parser.parse_args()
    data = options.data.resolve()
    work, chosen = extent(options.work.resolve(), small=options.small)
    console = output_console()
    for zoo in zoos(data, work, chosen, small=options.small):
        build_zoo(replace(zoo, workers=options.workers), console)
    asked = settings(data, work, chosen, small=options.small)
    if options.students_on:
        asked = replace(asked, students_on=tuple(options.students_on.split(",")))
    report = study(replace(asked, workers=options.workers), console)
    if options.markdown:
        print("\n".join(markdown(report.truths)))
    else:
        print_reports(report.truths, console)
    if options.keep:
        options.keep.write_text(kept(report.results))


if __name__ == "__main__":
    main()
