"""Answers that cannot be right, though each of them looks so: one label for all images, and accuracy at chance level."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sparkq.artifact.manifest import Manifest

__all__ = ["LEAST_IMAGES", "calibration_warnings", "chance_warning", "named_label", "one_label_warning"]

LEAST_IMAGES = 16
"""With fewer images nothing is said: a handful of one kind is no wonder."""

# Of many classes even a day of nothing but cats is seldom one label in nineteen of twenty. Of two one may be rare by nature: an
# inspection that finds a defect in 3 % of its images is in order, and told from a constant from some 30 images on.
_NEARLY_ALL, _NEARLY_ALL_OF_TWO, _LEAST_IMAGES_OF_TWO = 0.95, 0.99, 32
# One false alarm in a thousand evaluations at the most.
_SIGNIFICANCE = 1e-3


def one_label_warning(
    counts: Mapping[int, int], *, classes: int | None, names: Sequence[str] | None = None, model: str = "the model",
) -> str | None:
    """Say that (nearly) all images got the same label, if they did.

    Parameters
    ----------
    counts : mapping of int to int
        Images by the label that they got; a class without images may be left out.
    classes : int, optional
        How many the model tells apart; None where that is not known. Of two classes 99 % of at least 32 images must have one
        label, because one may be rare; of more classes 95 % of at least 16.
    names : sequence of str, optional
        Of the classes.
    model : str
        Who gave the labels.

    Returns
    -------
    str, optional
        A sentence and a hint; None where there is nothing to say.
    """
    images = sum(counts.values())
    many = classes is not None and classes > 2
    least, nearly_all = (LEAST_IMAGES, _NEARLY_ALL) if many else (_LEAST_IMAGES_OF_TWO, _NEARLY_ALL_OF_TWO)
    if classes in (0, 1) or images < least:
        return None
    label, most = max(counts.items(), key=lambda item: item[1])
    if most < nearly_all * images:
        return None
    knows = "" if classes is None else f", although it tells {classes} apart"
    unless = "nearly all of these images show it" if many else "the others are that rare in these images"
    return (
        f"{model} gives {'all' if most == images else f'{most} of'} {images} images the same label ({named_label(label, names)})"
        f"{knows}. Unless {unless}, weights, labels or preprocess (mean, std, channel order) are wrong. Hint: `sparkq preview` "
        "shows what the model sees."
    )


def calibration_warnings(manifest: Manifest) -> list[str]:
    """Say of an INT8 artifact what is odd about its labels of the calibration images; a float one was not run on them."""
    profile = manifest.calibration_profile
    if profile is None or manifest.task != "classification":
        return []
    found = one_label_warning(
        dict(profile.label_counts), classes=manifest.classes, names=manifest.labels, model="the artifact",
    )
    return [] if found is None else [found]


def named_label(label: int, names: Sequence[str] | None) -> str:
    """A label for people: its index, and its name where there is one."""
    return str(label) if names is None or not 0 <= label < len(names) else f"{label}, {names[label]}"


def chance_warning(
    right: int, truth: Mapping[int, int], predicted: Mapping[int, int], *, classes: int, model: str = "the model",
) -> str | None:
    """Say that a model is not right more often than by chance, if its labels cannot be told from ones given without looking.

    Chance is the agreement of two who do not know of each other, the sum over classes of the product of their shares
    (Cohen 1960, A coefficient of agreement for nominal scales): 1/C for a model that throws dice, the share of the most frequent
    class for one that always names that. Where the images are so much of one class that even faultless labels would not differ
    from it, it is 1/C. So many right labels by chance are at most ``exp(-n KL(right/n, chance))`` likely (Chernoff 1952;
    Hoeffding 1963, theorem 1); above 1 in 1000 there is a warning.

    Parameters
    ----------
    right : int
        Images whose first label is the true one.
    truth, predicted : mapping of int to int
        Images by true label, and by the first label that the model gives; of the same images.
    classes : int
        How many the model tells apart, C.
    model : str
        Whose accuracy it is.

    Returns
    -------
    str, optional
        A sentence and a hint; None where there is nothing to say, and with fewer than `LEAST_IMAGES` images.
    """
    images = sum(truth.values())
    if images < LEAST_IMAGES or classes < 2:
        return None
    shares = {label: count / images for label, count in truth.items()}
    independent = sum(share * predicted.get(label, 0) / images for label, share in shares.items())
    faultless = sum(share**2 for share in shares.values())
    if _likelihood(images, images, faultless) > _SIGNIFICANCE:
        chance = 1 / classes
    else:
        chance = max(independent, 1 / classes)
    if _likelihood(right, images, chance) <= _SIGNIFICANCE:
        return None
    return (
        f"{model} is right on {right} of {images} images, which cannot be told from chance ({100 * chance:.3g} %, for labels "
        "given without looking): weights, labels and preprocess do not belong together. Hint: check that the labels number the "
        "classes as the weights do, and look with `sparkq preview` at what the model sees."
    )


def _likelihood(right: int, images: int, chance: float) -> float:
    """Upper bound of the probability of `right` or more of `images`, each with probability `chance`."""
    share = right / images
    if share <= chance:
        return 1.0
    wrong = 0.0 if share == 1 else (1 - share) * math.log((1 - share) / (1 - chance))
    return math.exp(-images * (share * math.log(share / chance) + wrong))
