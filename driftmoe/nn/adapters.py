"""Saving what was injected into a model, and loading it into a model that was injected in the same way."""

from __future__ import annotations

from os import PathLike

import torch
from torch import Tensor, nn

from driftmoe.nn import adapter_files
from driftmoe.nn.injecting import Injected


def save_adapter(model: nn.Module, path: str | PathLike[str]) -> None:
    """Save the injected and the other trainable parameters of a model, without frozen ones, to a safetensors file.

    Needs `driftmoe[nn]`.

    Parameters
    ----------
    model
        A model that `inject` has modified.
    path
        File to write. A file of this name is replaced, all at once: whatever happens, the old file or the whole new one
        is there.

    Raises
    ------
    ValueError
        If there is no adapter in the model, or it holds NaN or infinite numbers.
    OSError
        If the file cannot be written. A file of this name is then as it was.

    Examples
    --------
    >>> import tempfile
    >>> from functools import partial
    >>> from pathlib import Path
    >>> import torch
    >>> from driftmoe.nn import inject, load_adapter, lora_layer, save_adapter
    >>> from driftmoe.routing import TopK
    >>> def adapted():
    ...     model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    ...     _ = inject(model, "0", partial(lora_layer, policy=TopK(1), rank=2), n_experts=2)
    ...     return model
    >>> trained, other = adapted(), adapted()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_adapter(trained, Path(folder, "adapter.safetensors"))
    ...     load_adapter(other, Path(folder, "adapter.safetensors"))
    >>> torch.equal(trained[0].moe.router.weight, other[0].moe.router.weight)
    True
    """
    adapter_files.write(_adapter(model), path)


def load_adapter(model: nn.Module, path: str | PathLike[str]) -> None:
    """Load a file of `save_adapter` into a model. Needs `driftmoe[nn]`.

    Parameters
    ----------
    model
        The same model, injected in the same way. Floats may be wider or narrower than those of the file.
    path
        File to read.

    Raises
    ------
    ValueError
        If the file is damaged; if names, shapes or types differ from the model's; or if a number is NaN or infinite,
        also because the model's type is too narrow. The model is then unchanged.
    OSError
        If the file cannot be read.

    Notes
    -----
    A file is read only if its header fits the model, so that no file takes more memory than the adapter does. Damage is
    noticed by a digest. Files of other programs and of earlier versions have none: there a changed number is noticed
    only if it is not finite.

    Examples
    --------
    `save_adapter` shows the way there and back. Any other file is refused, and the model stays as it was.

    >>> import tempfile
    >>> from functools import partial
    >>> from pathlib import Path
    >>> import torch
    >>> from driftmoe.nn import inject, load_adapter, lora_layer
    >>> from driftmoe.routing import TopK
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    >>> _ = inject(model, "0", partial(lora_layer, policy=TopK(1), rank=2), n_experts=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "adapter.safetensors")
    ...     _ = path.write_bytes(b"no adapter")
    ...     load_adapter(model, path)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: load_adapter: ... is damaged, or no adapter: ...
    """
    state = _adapter(model)
    tensors = adapter_files.read(path, state)
    with torch.no_grad():
        try:
            for name, tensor in tensors.items():
                state[name].copy_(tensor)
        except BaseException:  # Ctrl-C: raised after the last one, because half an adapter is none
            for name, tensor in tensors.items():
                state[name].copy_(tensor)
            raise


def _adapter(model: nn.Module) -> dict[str, Tensor]:
    """Return tensors by name: those of injected layers except the adapted layers, and other trainable parameters."""
    tensors = {
        name: parameter.data for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    for name, module in model.named_modules():
        if isinstance(module, Injected):
            for key, tensor in module.state_dict().items():
                if not key.startswith("moe.shared_expert."):
                    tensors[f"{name}.{key}" if name else key] = tensor
    if not tensors:
        raise ValueError("there is no adapter in the model: nothing injected, and nothing that may learn")
    return tensors
