"""Install the checkout as one namespace: ``core/`` imports as ``softprompt.core``, and so on.

The folders carry generic names, so none of them is ever installed at the top level
(``datasets`` alone would overwrite the Hugging Face package of that name).
"""

from setuptools import find_namespace_packages, setup

FOLDERS = ("core", "trainers", "datasets")

setup(
    package_dir={"softprompt": "softprompt", **{f"softprompt.{name}": name for name in FOLDERS}},
    packages=["softprompt"]
    + [
        f"softprompt.{package}"
        for folder in FOLDERS
        for package in find_namespace_packages(include=[folder, f"{folder}.*"])
        if not package.startswith("core.assets")
    ],
    package_data={"softprompt": ["py.typed"], "softprompt.core": ["assets/*", "assets/*/*"]},
)
