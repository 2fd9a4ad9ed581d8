"""The package; what it needs is listed once, in requirements.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (here / "ppo/__init__.py").read_text())
assert version

setup(
    name="ppo-atari",
    version=version[1],
    description="Proximal policy optimization for Atari games, to train and to study",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    package_dir={"": "."},  # else a folder named ppo hides an editable install
    packages=find_packages(include=["ppo", "ppo.*"]),
    package_data={"ppo": ["py.typed"], "ppo.presets": ["*.json", "*.jsonl"]},
    py_modules=["run_atari"],
    python_requires=">=3.11,<3.14",
    install_requires=(here / "requirements.txt").read_text().split(),
    extras_require={"cluster": ["ray>=2.40,<3"], "wandb": ["wandb>=0.19,<1"]},
    entry_points={"console_scripts": ["run_atari=run_atari:main"]},
)
