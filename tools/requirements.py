"""Print requirements of pyproject.toml, each as one word: ``requirements.py build`` or ``requirements.py EXTRA…``.

``build`` means the build requirements, with CMake and Ninja. Any other word is the name of an optional extra.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
groups = project["project"]["optional-dependencies"] | {
    "build": [*project["build-system"]["requires"], "cmake>=3.26", "ninja>=1.11"]
}
print(*[requirement for word in sys.argv[1:] for requirement in groups[word]])
