"""Agreement of a clustering with labels: NMI and ARI, as reported by papers on part discovery."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int, Num

from jaxpart.metrics.bootstrap import Interval, middle, resampled_sums


class Agreement(NamedTuple):
    """NMI and ARI with 95 % intervals over images.

    Attributes:
      nmi: Normalised mutual information, 0 to 1, normalised by the arithmetic mean of both entropies; 1 for
        two constant labellings.
      ari: Adjusted Rand index: 0 at chance, 1 for equal partitions; may be negative.
      nmi_interval: Interval of `nmi`.
      ari_interval: Interval of `ari`.
    """

    nmi: float
    ari: float
    nmi_interval: Interval
    ari_interval: Interval


def agreement(
    labels: Int[np.ndarray, " item"],
    clusters: Int[np.ndarray, " item"],
    images: Int[np.ndarray, " item"],
) -> Agreement:
    """NMI and ARI over all items, by scikit-learn.

    Repeated items raise the plug-in NMI of resamples, so both intervals are shifted by the bias: the mean
    of the resamples minus the value.
    """
    nmi, ari = scores(labels, clusters)
    (rows, row), (columns, column), (all_images, image) = (
        np.unique(values, return_inverse=True) for values in (labels, clusters, images)
    )
    shape = len(all_images), len(rows) * len(columns)
    cell = image * shape[1] + row * len(columns) + column
    table = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    tables = resampled_sums(table).reshape(-1, len(rows), len(columns))
    intervals = (
        middle(resampled - resampled.mean() + value)
        for resampled, value in zip(_table_scores(tables), (nmi, ari), strict=True)
    )
    (low, high), ari_interval = intervals
    return Agreement(nmi, ari, Interval(max(low, 0.0), min(high, 1.0)), ari_interval)


def scores(
    labels: Int[np.ndarray, " item"], clusters: Int[np.ndarray, " item"]
) -> tuple[float, float]:
    """NMI and ARI by scikit-learn; see `Agreement`."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score  # slow to import

    with warnings.catch_warnings():  # many labels for few items are fine here
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        return (
            float(normalized_mutual_info_score(labels, clusters)),
            float(adjusted_rand_score(labels, clusters)),
        )


def _table_scores(
    tables: Num[np.ndarray, "table label cluster"],
) -> tuple[Float64[np.ndarray, " table"], Float64[np.ndarray, " table"]]:
    """NMI and ARI of many contingency tables at once, which scikit-learn cannot compute."""
    total = tables.sum(axis=(1, 2))
    joint, label, cluster = tables, tables.sum(axis=2), tables.sum(axis=1)
    entropies = [_entropy(v.reshape(len(v), -1), total) for v in (joint, label, cluster)]
    mean = (entropies[1] + entropies[2]) / 2
    information = entropies[1] + entropies[2] - entropies[0]
    nmi = np.where(mean > 0, information / np.where(mean > 0, mean, 1), 1.0)
    joint_pairs, label_pairs, cluster_pairs, all_pairs = (
        (v * (v - 1) / 2).reshape(len(v), -1).sum(axis=1)
        for v in (joint, label, cluster, total[:, None])
    )
    expected = label_pairs * cluster_pairs / np.maximum(all_pairs, 1)
    largest = (label_pairs + cluster_pairs) / 2
    differ = largest != expected
    ari = np.where(differ, (joint_pairs - expected) / np.where(differ, largest - expected, 1), 1.0)
    return nmi, ari


def _entropy(
    counts: Num[np.ndarray, "table value"], total: Num[np.ndarray, " table"]
) -> Float64[np.ndarray, " table"]:
    share = counts / np.maximum(total, 1)[:, None]
    return -(share * np.log(np.where(share > 0, share, 1))).sum(axis=1)
