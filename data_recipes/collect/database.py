"""One SQLite file and the connections to it: write-ahead log, short immediate transactions, errors in the user's words.

A commit of a vote is synced to the disk before it is acknowledged (synchronous=FULL); a claim is not, since losing one
costs nothing. Writers of one process queue at a lock of ours, which wakes the next one at once; SQLite's own waiting
between processes sleeps up to 0.1 s.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from data_recipes.collect.model import Damaged, StorageFull
from data_recipes.collect.schema import APPLICATION_ID, SCHEMA, VERSION
from data_recipes.errors import Failed, Refused

BUSY_SECONDS = 30.0
MAGIC = b"SQLite format 3\0"
FULL = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_TRUNCATE", "SQLITE_IOERR_SHMSIZE")
BROKEN = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_READ", "SQLITE_FORMAT")


class Database:
    """Connections to one file, one for each thread. `path` must exist and be a collection."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        check_file(self.path)
        self._local, self._lock = threading.local(), threading.RLock()
        self._connections: list[sqlite3.Connection] = []
        try:
            self._check(self.reader())
        except BaseException:
            self.close()
            raise

    def reader(self) -> sqlite3.Connection:
        """This thread's connection."""
        found = getattr(self._local, "connection", None)
        if found is None:
            with translated(self.path):
                found = connect(self.path)
            self._local.connection = found
            with self._lock:
                self._connections.append(found)
        return found

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the whole file, however many statements are asked."""
        connection = self.reader()
        with translated(self.path):
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:  # an error of the file itself may have ended it
                    connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """One short transaction: all of it or nothing. Never hold it across a request.

        durable: synced to the disk before this returns.

        Raises:
            StorageFull: nothing was written. Damaged: the file is broken. Failed: other trouble with the file.
        """
        connection = self.reader()
        with self._lock, translated(self.path):
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk may have rolled back already
                    connection.execute("ROLLBACK")
                raise

    def clear_log(self) -> bool:
        """Empties the log into the file; False where a reader elsewhere did not let it."""
        connection = self.reader()
        with self._lock, translated(self.path):
            connection.execute("PRAGMA busy_timeout = 500")  # a long reader would else hold this up for half a minute
            try:
                return connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
            finally:
                connection.execute(f"PRAGMA busy_timeout = {int(1000 * BUSY_SECONDS)}")

    def close(self) -> None:
        """Closes all threads' connections."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()

    @contextlib.contextmanager
    def closing(self) -> Iterator[Database]:
        """Closes at the end."""
        try:
            yield self
        finally:
            self.close()

    def _check(self, connection: sqlite3.Connection) -> None:
        with translated(self.path):
            kind = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            faults = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
        if kind != APPLICATION_ID:
            raise Refused("this SQLite file is no collection", where=self.path, expected="a file made by align collect init")
        if version != VERSION:
            raise Refused(f"the collection is of format {version}", where=self.path, expected=f"format {VERSION}",
                          do="Open it with the release of align that made it.")
        if faults != ["ok"]:
            raise damaged(self.path, faults[0])


def create(path: Path | str) -> None:
    """Makes an empty collection. Raises Refused where the file exists."""
    path = Path(path)
    if path.exists():
        raise Refused("the file is there already", where=path, do="Add items with align collect add, or choose another name.")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with translated(path), contextlib.closing(connect(path)) as connection:
            marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
            connection.executescript(f"BEGIN; {marks} {SCHEMA} COMMIT;")
    except BaseException:
        remove(path)
        raise


def remove(path: Path | str) -> None:
    """Removes a collection that was not finished, and the files that SQLite keeps beside it."""
    for name in ("", "-wal", "-shm"):
        Path(f"{path}{name}").unlink(missing_ok=True)


def connect(path: Path) -> sqlite3.Connection:
    """A connection that any thread may close. Deleted text is overwritten with zeros (secure_delete)."""
    # check_same_thread: each thread still has its own; only `close` touches the others'
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    for pragma in ("journal_mode = WAL", "foreign_keys = ON", "secure_delete = ON", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def check_file(path: Path) -> None:
    """Refuses what is no SQLite file, before SQLite makes an empty one in its place."""
    if not path.is_file():
        raise Refused("there is no such collection", where=path, do="Make one with align collect init.")
    with open(path, "rb") as file:
        start = file.read(len(MAGIC))
    if start != MAGIC:
        raise Damaged("this is no collection, or a damaged one: its first bytes are not those of SQLite", where=path,
                      expected="a file made by align collect init",
                      do=f"If it was one, save what can be read: align collect salvage {path} --output saved.db")


def damaged(path: Path, detail: str) -> Damaged:
    """The error for a file that is no whole collection any more."""
    short = " ".join(str(detail).split())[:200]
    return Damaged(f"the collection is damaged: {short}", where=path, expected="a whole SQLite file",
                   do=f"Take your last backup, or save what can be read: align collect salvage {path} --output saved.db")


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", None) or ""
        if name in FULL:
            raise StorageFull("the disk is full: this was not written; all that was acknowledged before is kept", where=path,
                              do="Free some space; the same command or key then works.") from error
        if name.startswith(BROKEN) or "malformed" in str(error):
            raise damaged(path, str(error)) from error
        if isinstance(error, sqlite3.OperationalError):
            raise Failed(f"the collection cannot be used: {error}", where=path,
                         do="It must lie on a local disk that this user may write to.") from error
        raise
