"""How fast this machine moves and multiplies, so that a time can be compared with what is possible."""

from __future__ import annotations

import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch


def seconds(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """The best and the median time of ``work`` after one warm-up call."""
    work()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken), statistics.median(taken)


def copy_bandwidth(device: str = "cpu") -> float:
    """Bytes read plus bytes written a second by a large copy."""
    source = torch.ones(1 << 26, device=device)  # 256 MiB, far beyond any cache
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / seconds(lambda: target.copy_(source), 5)[0]


def matrix_rate(device: str = "cpu") -> float:
    """Floating-point operations a second of a large float32 product."""
    a = torch.ones(2048, 2048, device=device)
    return 2 * 2048**3 / seconds(lambda: a @ a, 3)[0]


def peak_mb() -> float:
    """The largest memory this process has held so far, in MB (10^6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def describe(threads: int) -> str:
    """The machine in two lines: what it is, and how fast it copies and multiplies."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()]
        model = next((name for name in names if "CPU" in name or "EPYC" in name or "Xeon" in name), model)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    speed = f"copy {copy_bandwidth() / 1e9:.1f} GB/s, product {matrix_rate() / 1e9:.0f} GFLOP/s"
    return f"{model}, {threads} thread(s), {device}, {versions}\n{speed}\n"
