"""Settings of the machine: where things are kept and what may be used.

Settings of a run (threshold, temperature …) belong to its configuration, not here. Values come,
from the weakest to the strongest, from the defaults, the settings file ``~/.onfly.yaml`` (or the
file named by ``ONFLY_CONFIG_FILE``; without either that of a demo run in the working directory),
environment variables ``ONFLY_<NAME>``, and arguments.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from onfly.spec.yaml import ConfigError, read_source

__all__ = ["OnflySettings", "SettingsError", "get_settings"]

ENV_PREFIX = "ONFLY_"
DEFAULT_CONFIG_FILE = "~/.onfly.yaml"
# written by `onfly demo`: in the directory where it was run, its run and model are found
DEMO_CONFIG_FILE = "onfly-demo/onfly.yaml"


_DEVICE = re.compile(r"(cpu|cuda|mps|xpu|hpu)(:[0-9]{1,3})?")
_COLLECTION = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,99}")


class SettingsError(ValueError):
    """Settings of the machine that cannot be used; the message names file or variable.

    Examples
    --------
    >>> get_settings(DEVICE="gpu")
    Traceback (most recent call last):
        ...
    onfly.settings.SettingsError: setting DEVICE: 'gpu' is no device of torch: use cpu, ...
    """


class OnflySettings(BaseSettings):
    """Settings of onfly on this machine.

    From ``~/.onfly.yaml`` (or the file that ``ONFLY_CONFIG_FILE`` names) and variables ``ONFLY_…``,
    which come first. Documents are limited in MB, files in GB.

    Raises
    ------
    ValueError
        If the settings file cannot be read or holds an unknown key; the message names the file,
        the key and the keys there are.

    Examples
    --------
    >>> OnflySettings(DEVICE="cuda:1").DEVICE
    'cuda:1'
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", validate_default=True, case_sensitive=False
    )

    CONFIG_FILE: Path = Field(
        Path(DEFAULT_CONFIG_FILE), description="YAML file with the keys below."
    )
    ARTIFACT_DIR: Path = Field(
        Path("~/.onfly/artifacts"),
        description="Files of the runs: labels, weights, MD states, trajectories, logs.",
    )
    STORE_DIR: Path = Field(
        Path("~/.onfly/store"), description="Embedded store, used when no JOB_STORE is given."
    )
    JOB_STORE: dict[str, Any] | None = Field(
        None,
        description="Store of the jobs, in the format of jobflow's JOB_STORE (docs_store, "
        "additional_stores with the one name `data`). None takes jobflow's own configured store, "
        "and without one the embedded store.",
    )
    DEVICE: str = Field("cpu", description="Torch device, such as cpu or cuda:0.")
    N_WORKERS: int | None = Field(
        None, ge=1, description="Processes for ensemble members; None takes all usable cores."
    )
    MAX_DOC_MB: float = Field(
        12.0, gt=0, le=16, description="Largest document in MB; MongoDB's own limit is 16."
    )
    OUTPUTS_COLLECTION: str = Field("outputs", description="Job outputs of the embedded store.")
    BLOBS_COLLECTION: str = Field("blobs", description="Weights of the embedded store.")
    MODELS_COLLECTION: str = Field("onfly_models", description="Published models.")
    LABELS_COLLECTION: str = Field("onfly_labels", description="Labels of all runs.")
    RUNS_COLLECTION: str = Field("onfly_runs", description="State of all runs.")
    CLASSES_COLLECTION: str = Field("onfly_classes", description="Models of classes of compounds.")

    @model_validator(mode="before")
    @classmethod
    def _merge_file(cls, values: dict[str, Any]) -> dict[str, Any]:
        given = values.get("CONFIG_FILE")
        path = Path(given or DEFAULT_CONFIG_FILE).expanduser()
        if given is None and not path.exists():
            path = Path(DEMO_CONFIG_FILE)
        if not path.exists():
            if given is not None:
                raise ValueError(
                    f"settings file {path} does not exist: create it, or unset "
                    f"{ENV_PREFIX}CONFIG_FILE"
                )
            return values
        return _read_file(path, set(cls.model_fields) - {"CONFIG_FILE"}) | values

    @field_validator("CONFIG_FILE", "ARTIFACT_DIR", "STORE_DIR", mode="before")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        # an empty path is the working directory, which nobody means
        if value == "":
            raise ValueError("is empty: give a folder, or leave it out")
        return value

    @field_validator("CONFIG_FILE", "ARTIFACT_DIR", "STORE_DIR")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("DEVICE")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not _DEVICE.fullmatch(value):
            raise ValueError(f"{value!r} is no device of torch: use cpu, cuda, cuda:1, mps or xpu")
        return value

    @field_validator("N_WORKERS", "MAX_DOC_MB", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(f"{str(value).lower()} is no number")
        return value

    @field_validator(
        "OUTPUTS_COLLECTION",
        "BLOBS_COLLECTION",
        "MODELS_COLLECTION",
        "LABELS_COLLECTION",
        "RUNS_COLLECTION",
        "CLASSES_COLLECTION",
    )
    @classmethod
    def _can_name_a_collection(cls, value: str) -> str:
        if not _COLLECTION.fullmatch(value):
            raise ValueError(
                f"{value!r} cannot name a collection: use letters, digits, '.', '_' and '-'"
            )
        return value

    @property
    def n_workers(self) -> int:
        """Number of worker processes: N_WORKERS, or the cores this process may use."""
        if self.N_WORKERS is not None:
            return self.N_WORKERS
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1


def _read_file(path: Path, known: set[str]) -> dict[str, Any]:
    try:
        content = read_source(path, empty=True).data
    except ConfigError as error:
        raise ValueError(f"settings file: {error}") from error
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key.upper() in values:
            raise ValueError(f"settings file {path}: {key.upper()} stands twice")
        values[key.upper()] = value
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(
            f"settings file {path}: unknown key {', '.join(unknown)}; known keys are "
            f"{', '.join(sorted(known))}"
        )
    return values


def get_settings(**overrides: Any) -> OnflySettings:
    """Read the settings afresh, so that changes of file and environment are seen.

    Parameters
    ----------
    **overrides
        Fields of `OnflySettings` that come before file and environment.

    Returns
    -------
    OnflySettings
        Validated.

    Raises
    ------
    SettingsError
        If one cannot be used; the message names it, and where it was given.

    Examples
    --------
    >>> get_settings(N_WORKERS=4).N_WORKERS
    4
    """
    try:
        return OnflySettings(**overrides)
    except ValidationError as error:
        raise SettingsError("\n".join(_messages(error, overrides))) from None
    except ValueError as error:  # a variable that is no JSON
        raise SettingsError(f"settings: {error}") from error


def _messages(error: ValidationError, overrides: dict[str, Any]) -> list[str]:
    messages = []
    for item in error.errors():
        text = item["msg"].removeprefix("Value error, ")
        if not item["loc"]:
            messages.append(text)
            continue
        name = str(item["loc"][0]).upper()
        variable = f"{ENV_PREFIX}{name}"
        if name in overrides:
            where = "setting "
        elif any(known.upper() == variable for known in os.environ):
            where = f"variable {ENV_PREFIX}"
        else:
            where = f"settings file, or variable {ENV_PREFIX}"
        messages.append(f"{where}{name}: {text}")
    return messages
