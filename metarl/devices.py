"""Which device a computation runs on."""

import os

import torch

from metarl.schedule import Device


def resolve(device: Device | str = "auto") -> torch.device:
    """The torch device for `auto`, `cpu` or `cuda`.

    `auto` is the GPU where there is one that works, else the CPU. Under torchrun each process gets the GPU
    with its local rank.

    Raises:
        ValueError: an unknown name, or `cuda` where torch sees no GPU, with what torch says.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device={device!r}, expected one of 'auto', 'cpu', 'cuda'")
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise ValueError(
            f"device='cuda', but torch {torch.__version__} ({built}) sees no GPU here; "
            "use device='auto' or 'cpu', or install a CUDA build of torch and its driver"
        )
    if device == "cpu" or not available:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
