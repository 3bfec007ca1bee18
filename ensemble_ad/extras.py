"""What parts of the package need beyond what it installs by itself, and the command that gets it."""

import shlex

EXTRAS = {
    "postgres": "psycopg[binary]>=3.2",
    "dask": "distributed>=2025.1",
    "s3": "boto3>=1.34",
    "dashboard": "optuna-dashboard>=0.18",
    "heic": "pillow-heif>=1.0",
    "dicom": "pydicom>=3.0",
    "tiff": "tifffile[codecs]>=2024.8.30",
    "plots": "matplotlib>=3.8",
}
"""The extras of pyproject.toml that users need, each with its one requirement."""


def how_to_install(extra: str) -> str:
    """A pip command that works however the package was installed.

    The package itself is in no registry, so its name with an extra in brackets would install nothing.
    """
    return f"pip install {shlex.quote(EXTRAS[extra])}"
