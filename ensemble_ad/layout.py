"""What lies where in the studies' folder. No other module knows these names, and no unchecked name becomes a path.

    studies.db, .studies.db.lock    Optuna's studies (SQLite), and whose turn it is to start a trial
    members/<key>/                  a trained model's cached result: `MEMBER_FILES`
    blends/<name>/                  a blend: `BLEND_FILES`
    data/<fingerprint>.json         the record of a data set
    runs/<name>.json                what `ensad run` has done within its time
    runs/.<name>.lock               held by the process that goes on with that run
    batches/<images>/<key>.npz      a member's scores of test images that came later; safe to delete, made again
    evaluations/<fingerprint>.json  what `ensad evaluate` found
    checkpoints/<key>.safetensors   what an unfinished training goes on from
    workers/<worker>.lock           held by a worker for as long as it lives
    preprocessed/                   images as uint8, files' fingerprints, near-duplicates, what blends' thresholds come
                                    from; safe to delete, made again when needed

A key, a name or a fingerprint may have been read from a stranger's file. Each function here checks the ones it is given
before it makes a path of them, so that none leads out of its folder.
"""

import os
import re
from pathlib import Path

from ensemble_ad.errors import StorageError, UsageError

MEMBER_INFO, VECTORS, WEIGHTS = MEMBER_FILES = ("member.json", "vectors.npz", "weights.safetensors")
BLEND_INFO, BLEND_ARRAYS = BLEND_FILES = ("blend.json", "scores.npz")

_DATABASE = "studies.db"
_FOLDERS = ("members", "blends", "data", "evaluations", "checkpoints", "workers", "preprocessed", "runs", "batches")

_FAMILY = r"[a-z][a-z0-9_]{0,59}"
KEY = rf"{_FAMILY}-[0-9a-f]{{12}}"
"""Pattern of a member's key: its family, and 12 digits of the hash of its recipe."""
_KEY = re.compile(KEY)
_BLEND_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
# Windows takes these for devices, whatever their ending, and drops a point at the end of a name.
_NOT_ON_WINDOWS = re.compile(r"(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?|.*\.")
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")
_WORKER = re.compile(r"[A-Za-z0-9-]{1,100}\.[0-9a-f]{12}")


def at_home(path: str | Path) -> Path:
    """`path` with `~` as the user's home folder, as a shell reads it; settings and Python's callers reach no shell."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no user of that name
        return Path(path)


def is_key(name: str) -> bool:
    """Whether `name` looks like a member's key."""
    return _KEY.fullmatch(name) is not None


def family_of(key: str) -> str:
    """The family that a member's key names."""
    return key.rpartition("-")[0]


def is_family(name: object) -> bool:
    """Whether `name` looks like a family's."""
    return isinstance(name, str) and re.fullmatch(_FAMILY, name) is not None


def is_fingerprint(text: str) -> bool:
    """Whether `text` looks like a data set's fingerprint."""
    return _FINGERPRINT.fullmatch(text) is not None


def is_worker(name: str) -> bool:
    """Whether `name` looks like a worker's: its machine's name, and 12 random digits."""
    return _WORKER.fullmatch(name) is not None


def check_key(key: str) -> str:
    """`key`, if it looks like a member's.

    Raises:
        StorageError: if it does not.
    """
    if not is_key(key):
        raise StorageError(f"a member's key must look like fcn-0123456789ab, not {key[:80]!r}")
    return key


def check_fingerprint(text: str) -> str:
    """`text`, if it looks like a data set's fingerprint.

    Raises:
        StorageError: if it does not.
    """
    if not is_fingerprint(text):
        raise StorageError(f"a data set's fingerprint must be 32 hexadecimal digits, not {text[:80]!r}")
    return text


def check_blend_name(name: str) -> str:
    """`name`, if a blend can have it.

    Raises:
        UsageError: unless it is made of letters, digits and `_.+-`, and a file's name on every system.
    """
    if not _BLEND_NAME.fullmatch(name):
        raise UsageError(f"a blend's name must be letters, digits and _ . + - (100 at most), not {name[:120]!r}")
    if _NOT_ON_WINDOWS.fullmatch(name):
        raise UsageError(f"a blend's name must be a folder's on Windows too, and {name!r} cannot be; add a letter")
    return name


def members_folder(studies: Path) -> Path:
    """The folder of all members."""
    return studies / "members"


def member_folder(studies: Path, key: str) -> Path:
    """A member's folder; StorageError if `key` cannot be one."""
    return members_folder(studies) / check_key(key)


def blends_folder(studies: Path) -> Path:
    """The folder of all blends."""
    return studies / "blends"


def blend_folder(studies: Path, name: str) -> Path:
    """A blend's folder; UsageError if no blend can have that name."""
    return blends_folder(studies) / check_blend_name(name)


def data_record_file(studies: Path, fingerprint: str) -> Path:
    """The record of a data set; StorageError if `fingerprint` cannot be one."""
    return studies / "data" / f"{check_fingerprint(fingerprint)}.json"


def batch_file(studies: Path, images: str, key: str) -> Path:
    """A member's scores of images that came later; StorageError if the fingerprint or the key cannot be one."""
    return studies / "batches" / check_fingerprint(images) / f"{check_key(key)}.npz"


def run_file(studies: Path, name: str) -> Path:
    """What is kept of a run; UsageError if its blend cannot have that name."""
    return studies / "runs" / f"{check_blend_name(name)}.json"


def run_lock(studies: Path, name: str) -> Path:
    """The lock of a run that is under way; UsageError if its blend cannot have that name."""
    return studies / "runs" / f".{check_blend_name(name)}.lock"


def evaluations_folder(studies: Path) -> Path:
    """The folder of all evaluations."""
    return studies / "evaluations"


def evaluation_file(studies: Path, fingerprint: str) -> Path:
    """What was found with labels on a data set; StorageError if `fingerprint` cannot be one."""
    return evaluations_folder(studies) / f"{check_fingerprint(fingerprint)}.json"


def checkpoint_file(studies: Path, key: str) -> Path:
    """What the training of a member goes on from; StorageError if `key` cannot be one."""
    return studies / "checkpoints" / f"{check_key(key)}.safetensors"


def worker_lock(studies: Path, worker: str) -> Path:
    """The lock that a worker holds while it lives; StorageError if `worker` cannot be a worker's name."""
    if not is_worker(worker):
        raise StorageError(f"a worker's name must look like HOST.0123456789ab, not {worker[:80]!r}")
    return studies / "workers" / f"{worker}.lock"


def studies_database(studies: Path) -> Path:
    """Optuna's SQLite database, unless a study is kept elsewhere."""
    return studies / _DATABASE


def is_ours(studies: Path, path: Path) -> bool:
    """Whether `path` leads to a file that this package keeps in the studies' folder, also through a link."""
    place, found = Path(os.path.realpath(studies)), Path(os.path.realpath(path))
    if place not in found.parents:
        return False
    first = found.relative_to(place).parts[0]
    return first in _FOLDERS or first.lstrip(".").startswith(_DATABASE)


def preprocessed_folder(studies: Path) -> Path:
    """The folder of what is made again when needed: decoded pictures, crops of images, scores for thresholds."""
    return studies / "preprocessed"


def held_out_file(studies: Path, digest: str) -> Path:
    """A blend's scores of its held-out normal images; StorageError if `digest` cannot be a hash."""
    return preprocessed_folder(studies) / f"held-out-{check_fingerprint(digest)}.npz"


def fingerprints_file(studies: Path) -> Path:
    """The fingerprints of files of images that were read, so that none is computed twice."""
    return preprocessed_folder(studies) / "fingerprints.json"
