"""Where scale and shift from elsewhere (FiLM) enter a backbone."""

from collections.abc import Sequence

from metarl.nn import Film


def films(given: Sequence[Film | None] | None, sizes: Sequence[int]) -> Sequence[Film | None]:
    """One entry for every place in a backbone: None where nothing enters.

    Args:
        given: What the caller of the backbone handed in.
        sizes: Channels at every place.

    Raises:
        ValueError: The number of entries or of channels is wrong.
    """
    if given is None:
        return (None,) * len(sizes)
    if len(given) != len(sizes):
        raise ValueError(
            f"film needs an entry (or None) for each of {len(sizes)} places, in the order of film_sizes, got {len(given)}"
        )
    for place, (each, size) in enumerate(zip(given, sizes, strict=True)):
        if each is not None and any(tuple(value.shape) != (size,) for value in each):
            shapes = [tuple(value.shape) for value in each]
            raise ValueError(f"film at place {place} needs scale and shift of shape ({size},), got {shapes}")
    return given
