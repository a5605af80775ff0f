"""Where class models are: files of the artifact directory, and a collection beside the models.

A version is written once, and by the file that is there first: two updates at the same time get
two versions. Its document lies at ``classes/NAME/VERSION.json`` of the artifact directory, so that
a worker that shares it needs no database.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Self

from jobflow import JobStore
from maggma.core import Store, StoreError
from pydantic import ValidationError
from pymongo.errors import PyMongoError

from onfly.artifacts import ArtifactError, ArtifactStore
from onfly.artifacts.atomic import atomic_write
from onfly.artifacts.blobs import check_document_size, decode_blob, encode_blob
from onfly.artifacts.files import decode_tensors
from onfly.classes.builder import CLASS_INDEXES, ClassBuilder, class_from_record, class_record
from onfly.classes.document import ClassModelDoc
from onfly.classes.names import PREFIX, ClassModelError, ClassName
from onfly.library.indexes import ensure_indexes
from onfly.library.weights import store_blobs
from onfly.schemas import WeightsBlob
from onfly.settings import OnflySettings, get_settings
from onfly.stores import job_store, sibling
from onfly.stores.factory import DATA_STORE, data_store

__all__ = [
    "FOLDER",
    "ClassLibrary",
    "document_path",
    "element_offsets",
    "find_class",
    "local_class",
]

logger = logging.getLogger(__name__)

FOLDER = "classes"


class ClassLibrary:
    """Class models of this machine's stores.

    Parameters
    ----------
    classes_store
        Collection of the documents, key ``class_id``.
    data_store
        Additional store `data` of the jobs, with the weights.
    artifact_store
        Files on this machine.
    settings
        Of the machine; None reads them.

    Raises
    ------
    ClassModelError
        By `get`: there is no such class, or no such version.

    Examples
    --------
    >>> ClassLibrary.from_settings().documents()
    []
    """

    def __init__(
        self,
        classes_store: Store,
        data_store: Store,
        artifact_store: ArtifactStore,
        settings: OnflySettings | None = None,
    ) -> None:
        self.classes_store = classes_store
        self.data_store = data_store
        self.artifact_store = artifact_store
        self.settings = settings or get_settings()
        for store in (classes_store, data_store):
            store.connect()

    @classmethod
    def from_settings(cls, settings: OnflySettings | None = None, *, refresh: bool = True) -> Self:
        """Return the class models of this machine's stores; `refresh` takes in those of jobs."""
        return cls.from_job_store(job_store(settings), settings, refresh=refresh)

    @classmethod
    def from_job_store(
        cls, store: JobStore, settings: OnflySettings | None = None, *, refresh: bool = True
    ) -> Self:
        """Return the class models next to a job store."""
        settings = settings or get_settings()
        library = cls(
            sibling(store.docs_store, settings.CLASSES_COLLECTION, "class_id"),
            data_store(store),
            ArtifactStore(settings.ARTIFACT_DIR),
            settings,
        )
        if refresh:
            ClassBuilder(store, library.classes_store).build()
        return library

    def documents(self, name: str | None = None) -> list[ClassModelDoc]:
        """Return all versions, or those of one class, the newest last; damaged ones are logged."""
        criteria = {} if name is None else {"name": name}
        found: dict[str, ClassModelDoc] = {}
        for record in self.classes_store.query(criteria):
            try:
                doc = class_from_record(record)
            except ValueError as error:
                logger.error("class model %s is damaged: %s", record.get("class_id"), error)
                continue
            found[doc.class_id] = doc
        for doc in local_classes(self.artifact_store.root, name):
            found.setdefault(doc.class_id, doc)
        return sorted(found.values(), key=lambda doc: (doc.name, doc.version))

    def get(self, name: ClassName) -> ClassModelDoc:
        """Return a version, or the newest one.

        Raises
        ------
        ClassModelError
            If there is none; the message says what there is.
        """
        found = {doc.version: doc for doc in self.documents(name.name)}
        if not found:
            known = sorted({doc.name for doc in self.documents()})
            there = f"there is {', '.join(known)}" if known else "there is none yet"
            raise ClassModelError(
                f"there is no class model {name.name}: {there}; "
                f"`onfly class update {name.name} --campaign NAME` makes one"
            )
        version = max(found) if name.version is None else name.version
        if version not in found:
            versions = ", ".join(map(str, sorted(found)))
            raise ClassModelError(
                f"class model {name.name} has no version {version}; it has {versions}"
            )
        return found[version]

    def publish(self, doc: ClassModelDoc) -> ClassModelDoc:
        """Write a new version: its document here, weights in the store of large data, then there.

        Parameters
        ----------
        doc
            Its weights are in a file; its version is raised if another update has taken it.

        Returns
        -------
        ClassModelDoc
            As it was written.
        """
        doc = self.write_document(doc)
        self.store(doc)
        return doc

    def store(self, doc: ClassModelDoc) -> None:
        """Put a version whose files are here into the stores, unless it is there."""
        if self.classes_store.query_one({"class_id": doc.class_id}, ["class_id"]) is not None:
            return
        record = class_record(doc, {"blob_uuid": _blob_uuid(doc), "store": DATA_STORE})
        check_document_size(record, self.settings.MAX_DOC_MB, f"class model {doc.class_id}")
        blob = encode_blob(self.artifact_store.load_bytes(doc.weights_file))
        store_blobs(self.data_store, _blob_uuid(doc), doc.class_id, [blob])
        ensure_indexes(self.classes_store, CLASS_INDEXES, unique="class_id")
        self.classes_store.update(record, key="class_id")

    def write_document(self, doc: ClassModelDoc) -> ClassModelDoc:
        """Write the document into the artifact directory; see `publish`."""
        while True:
            path = document_path(self.artifact_store.root, doc.name, doc.version)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:  # claims the version; a document follows
                os.close(os.open(path.with_suffix(".claim"), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                version = doc.version + 1
                update = {"version": version, "class_id": f"{doc.name}@{version}"}
                doc = doc.model_copy(update=update)
                continue
            _write(doc, path)
            return doc

    def fetch_weights(self, doc: ClassModelDoc) -> None:
        """Make sure that document and weights of a version are on this machine.

        Raises
        ------
        ArtifactError
            If the weights are nowhere, were changed, or are a pickle.
        """
        if not self.artifact_store.exists(doc.weights_file):
            self._fetch(doc)
        path = document_path(self.artifact_store.root, doc.name, doc.version)
        if not path.is_file():
            _write(doc, path)

    def _fetch(self, doc: ClassModelDoc) -> None:
        record: Any = self.classes_store.query_one({"class_id": doc.class_id}) or {}
        reference = record.get("weights_reference") or {"blob_uuid": _blob_uuid(doc)}
        found = self.data_store.query_one(
            {"blob_uuid": reference["blob_uuid"]}, ["blob_uuid", "data"]
        )
        source = f"weights of class model {doc.class_id}"
        if found is None:
            raise ArtifactError(
                f"{source} are neither in {self.artifact_store.root} nor in "
                f"{self.data_store.name}: check ONFLY_ARTIFACT_DIR and JOB_STORE"
            )
        data = found["data"]
        blob = WeightsBlob.model_validate(data[0] if isinstance(data, list) else data)
        if blob.sha256 != doc.weights_file.sha256:
            raise ArtifactError(f"{source} in {self.data_store.name} are those of another model")
        content = decode_blob(blob, source)
        decode_tensors(content, source=source)
        self.artifact_store.save_bytes(content, f"{FOLDER}/weights", ".safetensors")


def _write(doc: ClassModelDoc, path: Path) -> None:
    bare = doc.model_copy(update={"weights": None})
    atomic_write(path, bare.model_dump_json(indent=1).encode())


def find_class(
    name: ClassName, settings: OnflySettings | None = None, *, weights: bool = True
) -> tuple[ClassModelDoc, ArtifactStore]:
    """Return the document of a class model, and the files that have its weights.

    A version whose files are here needs no store. The newest one is looked for in the store as
    well, so that all machines agree which it is.

    Parameters
    ----------
    name
        With a version, or without one for the newest.
    settings
        Of the machine; None reads them.
    weights
        Whether the weights are fetched too.

    Returns
    -------
    tuple
        The document, and the store of its files.

    Raises
    ------
    ClassModelError
        If there is no such model, or the store does not answer.

    Examples
    --------
    >>> from onfly.classes.names import ClassName
    >>> find_class(ClassName("perovskites", 1))
    Traceback (most recent call last):
        ...
    onfly.classes.names.ClassModelError: there is no class model perovskites: ...
    """
    settings = settings or get_settings()
    files = ArtifactStore(settings.ARTIFACT_DIR)
    if name.version is not None:
        doc = local_class(files.root, name.name, name.version)
        if doc is not None and (not weights or files.exists(doc.weights_file)):
            return doc, files
    try:
        library = ClassLibrary.from_settings(settings)
        doc = library.get(name)
        if weights:
            library.fetch_weights(doc)
    except (PyMongoError, StoreError) as error:
        words = str(error).partition(", Timeout:")[0]
        raise ClassModelError(
            f"{name} is looked for in the store, which does not answer: {type(error).__name__}: "
            f"{words}"
        ) from None
    except ArtifactError as error:
        raise ClassModelError(str(error)) from None
    return doc, files


def element_offsets(source: str, level_of_theory: str) -> dict[str, float] | None:
    """Return foundation minus label energy of one atom by element, in eV, for runs from a class.

    None if the foundation is no class model, or one of labels of another level of theory.
    """
    if not source.startswith(PREFIX):
        return None
    doc, _ = find_class(ClassName.parse(source), weights=False)
    return doc.element_offsets if doc.level_of_theory == level_of_theory else None


def local_class(root: Path, name: str, version: int) -> ClassModelDoc | None:
    """Return a version whose document is in an artifact directory, or None.

    Raises
    ------
    ClassModelError
        If the document is damaged.
    """
    path = document_path(root, name, version)
    try:
        return ClassModelDoc.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ClassModelError(
            f"{path} is damaged ({error.errors()[0]['msg']}): remove it, and it is taken from the "
            "store again"
        ) from None


def local_classes(root: Path, name: str | None = None) -> list[ClassModelDoc]:
    """Return the versions whose documents are in an artifact directory."""
    found = []
    for path in sorted((root / FOLDER).glob(f"{name or '*'}/*.json")):
        if path.stem.isdecimal():
            doc = local_class(root, path.parent.name, int(path.stem))
            if doc is not None:
                found.append(doc)
    return found


def document_path(root: Path, name: str, version: int) -> Path:
    """Return where the document of a version is in an artifact directory."""
    return root / FOLDER / name / f"{version}.json"


def _blob_uuid(doc: ClassModelDoc) -> str:
    return f"onfly-class-{doc.class_id}"
