"""Read the saved state of a run without running code that its metadata, a pickle, might contain."""

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar

from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING, Metadata, StorageMeta


class StateReader(FileSystemReader):
    """torch's reader, except that its metadata, a pickle, is unpickled without running any code."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        metadata: Metadata = _Unpickler(io.BytesIO((Path(self.path) / ".metadata").read_bytes())).load()
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _Unpickler(pickle.Unpickler):
    """An unpickler that allows only the names that a checkpoint's metadata contains."""

    NAMES: ClassVar = {
        "torch.distributed.checkpoint.metadata": {
            *("Metadata", "MetadataIndex", "StorageMeta", "TensorStorageMetadata", "TensorProperties"),
            *("ChunkStorageMetadata", "_MEM_FORMAT_ENCODING"),
        },
        "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
        "torch.serialization": {"_get_layout"},
        "torch": {"Size", "float32", "bfloat16", "float64"},
        "collections": {"OrderedDict"},
        "pathlib": {"PosixPath", "WindowsPath"},
    }

    def find_class(self, module: str, name: str) -> Any:
        # Early releases of Python 3.11 pickle an enum member as a call of getattr.
        if (module, name) == ("builtins", "getattr"):
            return _enum_member
        if name not in self.NAMES.get(module, ()):
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def _enum_member(kind: Any, name: str) -> Any:
    """Return a member of the only enum that a checkpoint's metadata contains; nothing else is looked up."""
    if kind is not _MEM_FORMAT_ENCODING or name not in kind.__members__:
        raise pickle.UnpicklingError("it names builtins.getattr")
    return kind[name]
