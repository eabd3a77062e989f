"""The package asks for nothing that only some systems have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Other packages are imported first: what they use of this system is their affair.
HIDE = """
import os, signal, sys
import filelock, matplotlib.pyplot, pandas, platformdirs, psutil, requests, safetensors.torch, scipy.sparse.linalg
import sklearn.cluster, torch, torch.func, typer

for name in ("fcntl", "grp", "posix", "pwd", "resource", "syslog", "termios"):
    sys.modules[name] = None
for name in ("chown", "fork", "getloadavg", "getpgid", "getuid", "geteuid", "killpg", "mkfifo", "nice", "pathconf",
             "sched_getaffinity", "setsid", "sysconf", "uname", "O_DIRECTORY", "WNOHANG"):
    vars(os).pop(name, None)
for name in ("SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "alarm", "pause", "setitimer"):
    vars(signal).pop(name, None)
"""
USE = """
import importlib, pkgutil
import fedlib

for module in pkgutil.walk_packages(fedlib.__path__, "fedlib."):
    if module.name != "fedlib.__main__":
        importlib.import_module(module.name)

from pathlib import Path
from fedlib.commands.tune import save
from fedlib.items.cache import cached

split = fedlib.load("synthetic").leave_one_out(seed=0)
run = dict(local=fedlib.LocalTraining(optimizer="adam"), device="cpu", checkpoint="runs")
fedlib.federate(split, fedlib.FedMF(4), rounds=1, **run)
result = fedlib.federate(split, fedlib.FedMF(4), rounds=2, resume=True, **run)
loaded = fedlib.load_result(result.save("result"))
assert loaded.metrics == result.metrics
assert cached("kind", "key", lambda: {"x": torch.ones(1)}) == {"x": 1}
save(Path("rates.json"), {"lr": 1.0})
print("done")
"""


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    here = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder), "MPLCONFIGDIR": str(folder)}
    return subprocess.run([sys.executable, "-c", script], cwd=folder, env=here, capture_output=True, text=True)


def test_everything_imports_and_a_run_is_resumed_without_what_only_posix_has(tmp_path: Path) -> None:
    done = run(HIDE + USE, tmp_path)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_what_is_hidden_is_missed(tmp_path: Path) -> None:
    for use in ("import fcntl", "os.sysconf", "signal.SIGKILL"):
        assert run(HIDE + use, tmp_path).returncode == 1
