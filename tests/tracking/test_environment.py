"""The environment names what a result may depend on, and nobody."""

import getpass
import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy

from rerankbench.tracking.environment import environment


def test_versions_and_processor():
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["packages"]["numpy"] == numpy.__version__
    assert found["cpu"]["cores"] >= 1 and found["cpu"]["model"]
    json.dumps(found, allow_nan=False)


def test_nobody_is_named():
    text = json.dumps(environment())
    assert platform.node() not in text
    assert str(Path.home()) + "/" not in text
    assert f"/{getpass.getuser()}/" not in text


def test_it_loads_nothing_heavy():
    code = (
        "import sys; from rerankbench.tracking.environment import environment; environment(); "
        "print({'torch', 'numpy', 'mlflow', 'ranx', 'scipy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_the_revision_is_that_of_this_checkout():
    here = Path(__file__).resolve().parent
    asked = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True)
    tracked = subprocess.run(["git", "-C", str(here), "ls-files", "../../rerankbench/tracking"], capture_output=True)
    if asked.returncode == 0 and tracked.stdout:
        assert environment()["git"]["revision"] == asked.stdout.strip()
    else:
        assert environment()["git"] is None
