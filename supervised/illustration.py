"""What TensorBoard shows of a few-shot method besides curves: episodes as pictures, embeddings of their queries."""

from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from metarl.nn import BatchNorm
from metarl.runs import Run
from metarl.supervised.class_store import ClassStore
from metarl.supervised.episodes import Episode, EpisodeSampler
from metarl.supervised.evaluation import seeded
from metarl.supervised.experiment import FewShotExperiment
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method
from metarl.supervised.normalisation import embed
from metarl.supervised.pictures import contact_sheet
from metarl.supervised.training import VALIDATION_SEED

EPISODES = 3
"""Validation episodes that are drawn."""
SHOWN = 4
"""Queries of each class in a picture."""
LAYOUT = {
    "few-shot": {
        "validation accuracy": [r"fewshot/accuracy$"],
        "accuracy on training episodes": [r"train/accuracy$"],
        "validation loss": [r"fewshot/loss$"],
    },
    "training": {
        "loss": [r"train/loss$"],
        "norm of the gradient": [r"train/grad_norm$"],
        "step size": [r"train/lr$"],
        "stage": [r"train/stage$"],
    },
    "time": {
        "episodes per second": [r"time/fps$"],
        "seconds of an update": [r"time/iteration$"],
        "share of drawing and of learning": [r"time/(collect|learn)_share$"],
    },
}
"""TensorBoard's page of custom scalars."""


@torch.no_grad()
def illustrate(
    run: Run, method: Method, store: ClassStore, experiment: FewShotExperiment, statistics: Statistics
) -> None:
    """Write validation episodes with predictions, and features of one's queries as an embedding, beside the curves.

    Args:
        run: They go into its folder `episodes`.
        method: With its best state.
        store: Validation images.
        experiment: Ways and shots.
        statistics: Normalisation mode.
    """
    way = min(experiment.way, store.num_classes)
    sampler = EpisodeSampler(store, way, experiment.shot, experiment.query)
    params = {name: each.detach() for name, each in method.module.named_parameters()}
    with run.board("episodes") as writer:
        for number in range(EPISODES):
            drawn = sampler.draw(1, seeded(VALIDATION_SEED, number))
            episode = pytree.tree_map(lambda each: each[0], drawn)
            _, scores = method.tested(params, episode, statistics)
            names = [class_name(store, int(each)) for each in episode.classes]
            sheet = _sheet(store, episode, scores, names)
            writer.add_image(f"fewshot/episode_{number + 1}", np.asarray(sheet), 0, dataformats="HWC")
            if number == 0:
                labels = [names[int(each)] for each in episode.query_labels]
                pictures = torch.from_numpy(as_bytes(episode.query, store)).float() / 255
                vectors, tag = _vectors(method, episode, scores, statistics)
                writer.add_embedding(vectors.cpu(), labels, pictures, tag=tag)


def _vectors(
    method: Method, episode: Episode, scores: torch.Tensor, statistics: Statistics
) -> tuple[torch.Tensor, str]:
    """Features of the queries, shape (W Q, D), and their tag; class scores of methods that have no network `net`."""
    net = getattr(method.module, "net", None)
    if net is None:
        return scores.log_softmax(-1), "fewshot/class_scores"
    norms = [each for each in net.modules() if isinstance(each, BatchNorm)]
    if statistics == "running" and not all(int(each.recorded) for each in norms):
        statistics = "transductive"  # a method that keeps its averages elsewhere
    return embed(net, episode, statistics)[1].flatten(1), "fewshot/features"


def _sheet(store: ClassStore, episode: Episode, scores: torch.Tensor, names: list[str]) -> Any:
    truth = episode.query_labels.cpu().numpy()
    places = np.arange(len(truth))
    within = np.array([np.sum(truth[:place] == truth[place]) for place in places])
    kept = places[within < SHOWN]
    return contact_sheet(
        names,
        as_bytes(episode.support, store),
        episode.support_labels.cpu().numpy(),
        as_bytes(episode.query, store)[kept],
        scores.softmax(-1).cpu().numpy()[kept],
        truth[kept],
    )


def as_bytes(images: torch.Tensor, store: ClassStore) -> np.ndarray:
    """Normalised images (N, C, H, W) as uint8 pictures again."""
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (store.mean, store.std))
    return (images.cpu() * std + mean).mul(255).round().clamp(0, 255).to(torch.uint8).numpy()


def class_name(store: ClassStore, number: int) -> str:
    """A class's name; a turned class says by how much."""
    base = len(store.names)
    turned = f" {90 * (number // base)}°" if number >= base else ""
    return store.names[number % base] + turned
