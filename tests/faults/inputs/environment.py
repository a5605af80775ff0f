"""Settings of the machine that cannot be."""

from __future__ import annotations

from tests.faults.inputs.case import Case, settings

__all__ = ["ENVIRONMENT"]

_RUN = {"run.yaml": settings({})}


def _variable(name: str, value: str, says: str, **more: str) -> Case:
    return Case(f"{name}={value[:30]}", says, _RUN, environment={name: value, **more})


def _file(name: str, content: str | bytes, says: str) -> Case:
    return Case(
        f"settings file: {name}",
        says,
        {**_RUN, "onfly.yaml": content},
        environment={"ONFLY_CONFIG_FILE": "HOME/onfly.yaml"},
    )


def _jobflow(name: str, content: str, says: str) -> Case:
    return Case(
        f"jobflow's file: {name}",
        says,
        {**_RUN, "jobflow.yaml": content},
        environment={"JOBFLOW_CONFIG_FILE": "HOME/jobflow.yaml"},
    )


ENVIRONMENT = (
    _variable("ONFLY_DEVICE", "gpu", "DEVICE.*cuda"),
    _variable("ONFLY_DEVICE", "", "DEVICE"),
    _variable("ONFLY_DEVICE", "cuda:x", "DEVICE"),
    _variable("ONFLY_DEVICE", "cuda:-1", "DEVICE"),
    _variable("ONFLY_DEVICE", "cuda", "DEVICE"),
    _variable("ONFLY_DEVICE", "cuda:99", "DEVICE"),
    _variable("ONFLY_DEVICE", "meta", "DEVICE"),
    _variable("ONFLY_DEVICE", "CPU ", "DEVICE"),
    _variable("ONFLY_N_WORKERS", "0", "N_WORKERS"),
    _variable("ONFLY_N_WORKERS", "-1", "N_WORKERS"),
    _variable("ONFLY_N_WORKERS", "two", "N_WORKERS"),
    _variable("ONFLY_N_WORKERS", "1.5", "N_WORKERS"),
    _variable("ONFLY_N_WORKERS", "", "N_WORKERS"),
    _variable("ONFLY_MAX_DOC_MB", "0", "MAX_DOC_MB"),
    _variable("ONFLY_MAX_DOC_MB", "17", "MAX_DOC_MB"),
    _variable("ONFLY_MAX_DOC_MB", "nan", "MAX_DOC_MB"),
    _variable("ONFLY_MAX_DOC_MB", "12 MB", "MAX_DOC_MB"),
    _variable("ONFLY_ARTIFACT_DIR", "HOME/POSCAR", "ARTIFACT_DIR"),
    _variable("ONFLY_ARTIFACT_DIR", "HOME/POSCAR/below", "ARTIFACT_DIR"),
    _variable("ONFLY_ARTIFACT_DIR", "/proc/onfly", "ARTIFACT_DIR"),
    _variable("ONFLY_ARTIFACT_DIR", "/dev/null", "ARTIFACT_DIR"),
    _variable("ONFLY_ARTIFACT_DIR", "", "ARTIFACT_DIR"),
    _variable("ONFLY_ARTIFACT_DIR", "x" * 5000, "ARTIFACT_DIR"),
    _variable("ONFLY_STORE_DIR", "HOME/POSCAR", "STORE_DIR"),
    _variable("ONFLY_STORE_DIR", "/proc/onfly", "STORE_DIR"),
    _variable("ONFLY_STORE_DIR", "", "STORE_DIR"),
    _variable("ONFLY_CONFIG_FILE", "HOME/nothing.yaml", "does not exist"),
    _variable("ONFLY_CONFIG_FILE", "HOME", "cannot be read|settings file"),
    _variable("ONFLY_CONFIG_FILE", "HOME/POSCAR", "settings file"),
    _variable("ONFLY_JOB_STORE", "{", "JOB_STORE"),
    _variable("ONFLY_JOB_STORE", "[1]", "JOB_STORE"),
    _variable("ONFLY_JOB_STORE", "5", "JOB_STORE"),
    _variable("ONFLY_JOB_STORE", "{}", "JOB_STORE"),
    _variable("ONFLY_JOB_STORE", '{"docs_store": {"type": "system"}}', "JOB_STORE"),
    _variable("ONFLY_JOB_STORE", '{"docs_store": {"type": "MemoryStore"}}', "JOB_STORE"),
    _variable("ONFLY_JOB_STORE", '{"docs_store": {"type": "MongoStore", "portt": 1}}', "JOB_STORE"),
    _variable("ONFLY_JOB_STORE", '{"@module": "os", "@class": "system"}', "JOB_STORE"),
    _variable("ONFLY_OUTPUTS_COLLECTION", "", "OUTPUTS_COLLECTION"),
    _variable("ONFLY_MODELS_COLLECTION", "a/../../b", "MODELS_COLLECTION"),
    _variable("ONFLY_LABELS_COLLECTION", "a\nb", "LABELS_COLLECTION"),
    _variable("ONFLY_BLOBS_COLLECTION", "$x", "BLOBS_COLLECTION"),
    _file("a list", "[1]", "key: value"),
    _file("a word", "cpu", "key: value"),
    _file("unknown key", "DEVISE: cpu", "unknown key DEVISE"),
    _file("key of a run", "threshold: 50 meV", "unknown key THRESHOLD"),
    _file("a number as key", "5: cpu", "unknown key 5|word"),
    _file("not YAML", "DEVICE: [cpu", "not valid YAML|cannot be read"),
    _file("a key twice", "DEVICE: cpu\nDEVICE: cuda\n", "stands twice"),
    _file("a key twice in other letters", "DEVICE: cpu\ndevice: cuda\n", "DEVICE"),
    _file("python object", "DEVICE: !!python/object/apply:os.system ['touch pwned']\n",
          "could not determine"),
    _file("not UTF-8", b"ARTIFACT_DIR: \xff\n", "UTF-8|cannot be read"),
    _file("a bomb", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)),
          "more than 50000|unknown key"),
    _file("100 000 levels", "JOB_STORE: " + "[" * 100_000, "nested more than"),
    _file("a wrong type", "N_WORKERS: [1]", "N_WORKERS"),
    _file("N_WORKERS true", "N_WORKERS: true", "N_WORKERS"),
    _file("a device that is none", "DEVICE: gpu", "DEVICE"),
    _file("a store without a data store",
          "JOB_STORE: {docs_store: {type: EmbeddedStore, path: s, collection_name: o}}",
          "additional store named `data`|JOB_STORE"),
    _file("a store that is a list", "JOB_STORE: [1]", "JOB_STORE"),
    _jobflow("not YAML", "JOB_STORE: [", "jobflow"),
    _jobflow("a store that is none", "JOB_STORE: {docs_store: {type: system}}", "jobflow"),
    _jobflow("no data store", "JOB_STORE: {docs_store: {type: MemoryStore}}", "named `data`"),
    _jobflow("a list", "- 1\n", "jobflow"),
)  # fmt: skip
