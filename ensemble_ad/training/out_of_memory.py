"""Memory that does not suffice, by what the libraries say of it."""

import re

import torch

# torch's own allocators say it by type or in words; CUDA's libraries, which take memory for themselves, by a status:
# CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED, CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED, ...
_SAID = re.compile(r"CUDA error: out of memory|\w_ALLOC(ATION)?_FAILED|DefaultCPUAllocator.*memory", re.DOTALL)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the GPU or of the machine did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _SAID.search(str(error)) is not None
