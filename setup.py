"""Where the packages lie; everything else about the project is in pyproject.toml."""

from setuptools import find_packages, setup

# In the repository these three lie beside metarl/; installed, they are metarl.envs, metarl.agents, metarl.supervised.
BESIDE = ("envs", "agents", "supervised")

inside = [name for name in find_packages("metarl") if name.split(".")[0] not in BESIDE]
beside = [name for top in BESIDE for name in (top, *(f"{top}.{sub}" for sub in find_packages(top)))]

setup(
    packages=["metarl", *(f"metarl.{name}" for name in inside + beside)],
    package_dir={f"metarl.{top}": top for top in BESIDE},
    package_data={
        "metarl": ["py.typed"],
        "metarl.envs": ["assets/**/*", "zoo/**/*"],
        "metarl.agents.zoo": ["**/*.json", "**/*.safetensors", "**/*.csv"],
        "metarl.supervised": ["**/*.json"],
    },
)
