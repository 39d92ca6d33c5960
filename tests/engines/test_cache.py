"""The cache of compiled models: what another user put there, or could have, is never read, and a job runs all the same."""
from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sparkq.engines import private_directory as module
from sparkq.engines.base import LoadOptions
from sparkq.engines.cache import BlobCache, cache_directory
from sparkq.engines.load import load_engine
from sparkq.engines.private_directory import hold_lock, open_private, private_directory
from sparkq.quantization import quantize
from sparkq.worker.engine_choice import choose_engine
from tests.models import SMALL, SmallNet, noise

OPTIONS = LoadOptions((16, 16), batch_size=4)
NAME = "a.openvino"
ANOTHER_USER = 12345
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away and become another user")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache directory that does not exist yet, and a temporary directory of the test's own, sticky as ``/tmp`` is."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("SPARKQ_CACHE_DIR", str(tmp_path / "cache"))
    module._warn.cache_clear()
    yield tmp_path / "cache"
    module._warn.cache_clear()


def fallback() -> Path:
    """The user's directory in the temporary one."""
    return Path(tempfile.gettempdir()) / f"sparkq-{os.getuid()}"


def _payload(*, sign: int = 1) -> bytes:
    """A small network, its last weights times `sign`."""
    model = SmallNet()
    with torch.no_grad():
        model.linear.weight.mul_(sign)
        model.linear.bias.mul_(sign)
    return quantize(model, calibration=noise(8), preprocess=SMALL).payload


class TestPlanted:
    """A blob of another model under this model's name, as whoever can write the directory would put it."""

    def test_predictions_stay_the_models_own(self, cache: Path) -> None:
        """It answered with the other model's classes, and passed the golden check of a model with the same golden answer."""
        mine, planted = _payload(), _payload(sign=-1)
        images = np.stack(noise(4))
        expected = load_engine(mine, "openvino", OPTIONS).run(images)
        (own,) = cache.glob("*.openvino")
        wrong = load_engine(planted, "openvino", OPTIONS).run(images)
        (theirs,) = set(cache.glob("*.openvino")) - {own}
        assert (wrong.argmax(1) != expected.argmax(1)).all()
        blob = theirs.read_bytes()[hashlib.sha256().digest_size:]
        for content in (theirs.read_bytes(), hashlib.sha256(blob).digest() + blob):
            own.write_bytes(content)
            assert BlobCache(own.name).read() is None
            assert np.array_equal(load_engine(mine, "openvino", OPTIONS).run(images), expected)

    def test_a_blob_is_bound_to_its_name(self, cache: Path) -> None:
        """Also of two files of the same user."""
        BlobCache(NAME).write(b"blob")
        shutil.copy(cache / NAME, cache / "b.openvino")
        assert BlobCache(NAME).read() == b"blob" and BlobCache("b.openvino").read() is None

    @pytest.mark.parametrize("kind", ["symbolic link", "hard link", "pipe", "directory"])
    def test_what_is_no_file_of_this_user_alone(self, cache: Path, kind: str) -> None:
        """It is neither read nor waited for, and makes place for a file."""
        BlobCache(NAME).write(b"blob")
        (cache / NAME).rename(cache / "moved")
        make: dict[str, Callable[[], object]] = {
            "symbolic link": lambda: (cache / NAME).symlink_to(cache / "moved"),
            "hard link": lambda: (cache / NAME).hardlink_to(cache / "moved"),
            "pipe": lambda: os.mkfifo(cache / NAME), "directory": lambda: (cache / NAME).mkdir(),
        }
        make[kind]()
        assert BlobCache(NAME).read() is None
        if kind != "directory":
            BlobCache(NAME).write(b"new")
            assert BlobCache(NAME).read() == b"new" and stat.S_ISREG((cache / NAME).lstat().st_mode)

    @pytest.mark.parametrize("spoil", [
        lambda path: path.chmod(0o644), lambda path: path.write_bytes(b"short"), lambda path: path.unlink(),
    ], ids=["readable by others", "cut off", "gone"])
    def test_a_key_that_is_no_secret_is_made_anew(self, cache: Path, spoil: Callable[[Path], object]) -> None:
        """What bears its mark is worth nothing then."""
        BlobCache(NAME).write(b"blob")
        key = cache / "cache.key"
        before = key.read_bytes()
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        spoil(key)
        assert BlobCache(NAME).read() is None
        BlobCache(NAME).write(b"new")
        assert BlobCache(NAME).read() == b"new" and key.read_bytes() != before and stat.S_IMODE(key.stat().st_mode) == 0o600


class TestLockFile:
    """It holds nothing, so nothing is written to it."""

    def test_a_link_leaves_its_target_alone(self, cache: Path, tmp_path: Path) -> None:
        """It was followed, and its target truncated."""
        target = tmp_path / "letter.txt"
        target.write_text("dear diary")
        cache.mkdir(mode=0o700)
        for name in ("engine_choice.lock", "cache.key.lock"):
            (cache / name).symlink_to(target)
        artifact = quantize(SmallNet(), calibration=noise(4), preprocess=SMALL)
        assert choose_engine(artifact, engine="fbgemm", batch_size=4).engine == "fbgemm"
        assert target.read_text() == "dear diary"
        with pytest.raises(OSError), hold_lock(cache, "engine_choice.lock"):
            pass

    def test_of_two_one_holds_it(self, cache: Path) -> None:
        with hold_lock(cache, "a.lock", wait=False) as first, hold_lock(cache, "a.lock", wait=False) as second:
            assert (first, second) == (True, False)
        with hold_lock(cache, "a.lock", wait=False) as third:
            assert third


class TestDirectory:
    """A directory that others can write to is not used, the reason is said once, and another is taken."""

    @pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777, 0o707])
    def test_writable_by_others(self, cache: Path, caplog: pytest.LogCaptureFixture, mode: int) -> None:
        cache.mkdir()
        cache.chmod(mode)
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                BlobCache(NAME).write(b"blob")
        assert BlobCache(NAME).read() == b"blob" and (fallback() / NAME).is_file() and not any(cache.iterdir())
        (record,) = caplog.records
        assert f"{cache} can be written by others (mode {mode:04o})" in record.message and str(fallback()) in record.message

    def test_below_one_that_others_can_write_to(self, cache: Path, tmp_path: Path) -> None:
        """They could rename it and put another in its place; not so where the directory above is sticky."""
        tmp_path.chmod(0o777)
        assert cache_directory() is None  # nor is the temporary directory, which lies below it
        tmp_path.chmod(0o1777)
        assert cache_directory() == cache
        tmp_path.chmod(0o700)

    @as_root
    @pytest.mark.parametrize("place", ["directory", "above"])
    def test_of_another_user(self, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str) -> None:
        cache.mkdir(mode=0o700)
        os.chown(cache if place == "directory" else tmp_path, ANOTHER_USER, -1)
        BlobCache(NAME).write(b"blob")
        assert not any(cache.iterdir()) and f"belongs to user {ANOTHER_USER}, this process to 0" in caplog.text
        assert BlobCache(NAME).read() == (b"blob" if place == "directory" else None)

    @as_root
    def test_a_file_of_another_user(self, cache: Path) -> None:
        """Left there when the directory was still open to all."""
        BlobCache(NAME).write(b"blob")
        os.chown(cache / NAME, ANOTHER_USER, -1)
        assert BlobCache(NAME).read() is None

    @as_root
    @pytest.mark.parametrize("path", ["link/cache", "link"])
    def test_a_link_of_another_user(self, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
        """He could let it point elsewhere; one of this user's own is followed once, to the directory that is then taken."""
        cache.mkdir(mode=0o700)
        (tmp_path / "link").symlink_to(tmp_path if "/" in path else cache)
        monkeypatch.setenv("SPARKQ_CACHE_DIR", str(tmp_path / path))
        assert cache_directory() == cache
        os.chown(tmp_path / "link", ANOTHER_USER, -1, follow_symlinks=False)
        assert cache_directory() == fallback()

    @as_root
    def test_as_seen_by_another_user(self, cache: Path, tmp_path: Path) -> None:
        """Someone else's private directory is not usable, root's is not either; each takes one of his own below ``/tmp``."""
        BlobCache(NAME).write(b"root's")
        # However deep: pytest's folders are open to this user alone.
        for directory in (tmp_path, *tmp_path.parents):
            if directory.stat().st_mode & 0o055 != 0o055:
                directory.chmod(directory.stat().st_mode | 0o055)
        assert _as_another_user(lambda: BlobCache(NAME).read() is None)
        assert _as_another_user(_keeps_its_own)
        theirs = Path(tempfile.gettempdir()) / f"sparkq-{ANOTHER_USER}"
        assert theirs.stat().st_uid == ANOTHER_USER and stat.S_IMODE(theirs.stat().st_mode) == 0o700
        assert BlobCache(NAME).read() == b"root's"

    @as_root
    def test_a_fallback_that_another_user_made(self, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing is kept, which costs time only."""
        fallback().mkdir()
        os.chown(fallback(), ANOTHER_USER, -1)
        cache.mkdir()
        cache.chmod(0o777)
        BlobCache(NAME).write(b"blob")
        assert BlobCache(NAME).read() is None and "Nothing is kept" in caplog.text
        assert load_engine(_payload(), "openvino", OPTIONS).run(np.stack(noise(1))).shape == (1, 4)

    def test_predictions_without_it(self, cache: Path) -> None:
        """A planted blob in a directory open to all, the case that was seen: the model answers itself."""
        payload = _payload()
        expected = load_engine(payload, "fbgemm", OPTIONS).run(np.stack(noise(4)))
        cache.mkdir()
        cache.chmod(0o777)
        found = load_engine(payload, "openvino", OPTIONS).run(np.stack(noise(4)))
        assert np.array_equal(found.argmax(1), expected.argmax(1)) and not any(cache.iterdir())

    def test_missing_parents_are_this_users_alone(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever the umask."""
        monkeypatch.setenv("SPARKQ_CACHE_DIR", str(cache / "a" / "b"))
        before = os.umask(0)
        try:
            BlobCache(NAME).write(b"blob")
        finally:
            os.umask(before)
        assert {stat.S_IMODE(path.stat().st_mode) for path in (cache, cache / "a", cache / "a" / "b")} == {0o700}
        assert BlobCache(NAME).read() == b"blob"

    def test_where_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SPARKQ_CACHE_DIR")
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert cache_directory() == Path("/somewhere/sparkq")

    def test_a_place_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("no directory")
        place = private_directory(tmp_path / "file" / "cache")
        assert place is not None
        with pytest.raises(OSError), hold_lock(place, "a.lock"):
            pass


def test_it_does_not_grow_for_ever(cache: Path) -> None:
    for number in range(20):
        BlobCache(f"{number}.openvino").write(b"blob")
    assert len(list(cache.glob("*.openvino"))) == 16 and BlobCache("19.openvino").read() == b"blob"


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    """Opening one for reading waits for a writer."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PermissionError):
        open_private(tmp_path / "pipe")


def _keeps_its_own() -> bool:
    BlobCache(NAME).write(b"mine")
    return BlobCache(NAME).read() == b"mine"


def _as_another_user(check: Callable[[], bool]) -> bool:
    """What `check` says in a process of another user."""
    child = os.fork()
    if child == 0:
        found = False
        try:
            os.setgid(ANOTHER_USER)
            os.setuid(ANOTHER_USER)
            found = check()
        finally:
            os._exit(0 if found else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
