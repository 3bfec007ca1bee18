"""The device that is asked for, and the numbers that it computes with."""

import pytest
import torch
from torch.backends import cuda, cudnn

from ensemble_ad.errors import UsageError
from ensemble_ad.training.device import Precision, choose_device, choose_precision, float32_products, one_of_several

CUDA = torch.device("cuda")
CONVOLUTIONS = cudnn.conv  # type: ignore[attr-defined]
INSIDE: dict[Precision, str] = {"fp32": "ieee", "bf16": "tf32", "fp16": "tf32"}


@pytest.fixture
def gpus(monkeypatch):
    """Makes torch see so many GPUs of a compute capability; none is there, and none is asked to compute."""

    def see(count, capability=(8, 0)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)

    return see


def test_cuda_without_a_device_is_a_clear_error(gpus):
    gpus(0)
    for name in ("cuda", "cuda:1"):
        with pytest.raises(UsageError, match=f"--device {name} needs a CUDA device .*--device cpu"):
            choose_device(name)
    assert choose_device("auto").type == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "mps", "", "cuda:1000000000000"])
def test_a_device_of_another_name_is_refused(gpus, name):
    gpus(2)
    with pytest.raises(UsageError, match="--device must be auto, cpu, cuda or cuda:0"):
        choose_device(name)


def test_a_gpu_that_is_not_there_is_refused(gpus):
    gpus(2)
    assert choose_device("auto") == CUDA
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UsageError, match="one of the 2 that torch sees, not cuda:9"):
        choose_device("cuda:9")


def test_workers_take_the_gpus_of_their_machine_in_turn(gpus):
    gpus(2)
    assert [one_of_several("auto", number) for number in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert [one_of_several("cuda:1", number) for number in range(3)] == ["cuda:1"] * 3
    assert [one_of_several("cpu", number) for number in range(2)] == ["cpu"] * 2
    gpus(1)
    assert one_of_several("cuda", 3) == "cuda"
    gpus(0)
    assert one_of_several("auto", 1) == "auto"


@pytest.mark.parametrize(
    ("capability", "precision"), [((6, 1), "fp32"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16")]
)
def test_auto_is_what_the_gpus_tensor_cores_take(gpus, capability, precision):
    gpus(1, capability)
    assert choose_precision("auto", CUDA) == precision
    assert choose_precision("fp32", CUDA) == "fp32"
    with pytest.raises(UsageError, match="auto, fp32, bf16, fp16"):
        choose_precision("tf32", CUDA)


def switches():
    return cuda.matmul.fp32_precision, CONVOLUTIONS.fp32_precision


@pytest.fixture
def kept():
    """Puts torch's switches back, the older set too."""
    before = switches()
    yield
    torch.set_float32_matmul_precision("highest")
    cuda.matmul.fp32_precision, CONVOLUTIONS.fp32_precision = before


def by_the_older_switches():
    torch.set_float32_matmul_precision("high")


def by_the_newer_ones():
    cuda.matmul.fp32_precision = "tf32"
    CONVOLUTIONS.fp32_precision = "ieee"
    with pytest.raises(RuntimeError):
        torch.get_float32_matmul_precision()


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("chosen", [lambda: None, by_the_older_switches, by_the_newer_ones])
def test_whoever_chose_a_float32_product_has_it_back(chosen):
    chosen()
    before = switches()
    for precision, inside in INSIDE.items():
        with float32_products(precision, CUDA):
            assert switches() == (inside, inside)
        assert switches() == before
    with float32_products("bf16", torch.device("cpu")):
        assert switches() == before
