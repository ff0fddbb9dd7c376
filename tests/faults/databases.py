"""A real PostgreSQL server, started and stopped by the tests that need one."""

import getpass
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.faults.processes import until

PASSWORD = "s3cret"


def tool(name: str) -> str:
    """Where a program of PostgreSQL is; the test is skipped where it is not installed."""
    places = [str(path.parent) for path in Path("/usr/lib/postgresql").glob(f"*/bin/{name}")]
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        pytest.skip(f"needs a PostgreSQL server: '{name}' is not installed")
    return found


def owner() -> dict[str, Any]:
    """Whom the server belongs to: it refuses root, who therefore gives it to another user."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    pytest.skip("needs a user other than root to start a PostgreSQL server")


class Server:
    """A server of its own in a temporary folder, on a socket there and on a free port of this machine.

    Attributes:
        url: Of the database, over the socket, without a password.
        secret_url: Of the same database, over TCP, with one.
    """

    def __init__(self) -> None:
        if not any(importlib.util.find_spec(name) for name in ("psycopg", "psycopg2")):
            pytest.skip("needs a PostgreSQL driver: pip install 'autoprune[postgres]'")
        self._postgres, initdb, self._owner = tool("postgres"), tool("initdb"), owner()
        self._folder = Path(tempfile.mkdtemp(prefix="autoprune-pg-"))
        self._run: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        user = pwd.getpwuid(self._owner["user"]).pw_name if self._owner else getpass.getuser()
        self.url = f"postgresql://{user}@/postgres?host={self._folder}&port={self._port}"
        self.secret_url = f"postgresql://{user}:{PASSWORD}@127.0.0.1:{self._port}/postgres"
        secret = self._folder / "secret"
        secret.write_text(PASSWORD)
        if self._owner:
            for path in (self._folder, secret):
                os.chown(path, self._owner["user"], self._owner["group"])
        ways = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}"]
        words = [initdb, *ways, "--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C"]
        made = subprocess.run(
            [*words, "-D", str(self._folder / "data")],
            capture_output=True, text=True, cwd=self._folder, check=False, **self._owner,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr

    def start(self) -> None:
        settings = {
            "unix_socket_directories": self._folder, "port": self._port, "listen_addresses": "127.0.0.1",
            "fsync": "off", "shared_buffers": "16MB", "max_connections": 20,
        }  # fmt: skip
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with open(self._folder.with_suffix(".log"), "ab") as log:
            self._run = subprocess.Popen(
                [self._postgres, "-D", str(self._folder / "data"), *words],
                cwd=self._folder, stdout=log, stderr=log, **self._owner,
            )  # fmt: skip
        until(self._answers)

    def _answers(self) -> bool:
        import sqlalchemy

        assert self._run is not None and self._run.poll() is None, "the server ended"
        driver = "psycopg" if importlib.util.find_spec("psycopg") else "psycopg2"
        engine = sqlalchemy.create_engine(self.url.replace("postgresql", f"postgresql+{driver}", 1))
        try:
            engine.connect().close()
        except sqlalchemy.exc.OperationalError:
            return False
        finally:
            engine.dispose()
        return True

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it with all that it started: well, or with SIGQUIT as in a crash."""
        if self._run is not None:
            self._run.send_signal(number)
            self._run.wait(60)
            self._run = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.with_suffix(".log").unlink(missing_ok=True)
