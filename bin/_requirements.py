"""Install exactly the packages of a lock file into .venv, and write the locks: with uv, which is fetched if missing.

Run by bin/_bootstrap with the system's Python before anything is installed, so it uses the standard library only. pip
installs where uv is not available or fails. Every installed file must have a hash of the lock, whichever index or
mirror served it.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

# Settings of pip's files and environment, which uv does not read, and their names for uv.
INDEX_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
# Not for locks: a further index may have a package's files for one system only, without the hashes of the others.
FURTHER_NAMES = {"extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS", "constraint": "UV_CONSTRAINT"}
PARTED_BY_COMMAS = {"UV_FIND_LINKS"}
STAMP = "requirements.stamp"  # the folder it was made in, then the lock that is installed; see bin/_bootstrap


class Pip:
    """A pip that installs into `venv`: the system's own, or one of ensurepip. Found when it is first needed."""

    def __init__(self, venv: Path) -> None:
        self._python = venv / "bin/python"
        self._command: list[str] | None = None

    def is_there(self) -> bool:
        return find_spec("pip") is not None or find_spec("ensurepip") is not None

    def read_settings(self) -> dict[str, str]:
        """pip's settings, from its files and the environment, which takes precedence. Empty without pip."""
        if not self.is_there():
            return {}
        listed = subprocess.run([*self._find(), "config", "list"], stdout=subprocess.PIPE, text=True, check=False)
        return parse_pip_settings(listed.stdout)

    def install(self, lock: Path, *options: str) -> None:
        command = [*self._find(), "install", "--disable-pip-version-check", *options]
        if not sys.stderr.isatty():
            command.append("-qq")
        subprocess.run([*command, "--require-hashes", "--requirement", str(lock)], stdout=sys.stderr, check=True)

    def remove_others(self, names: set[str]) -> None:
        """Uninstall packages that are not among `names`, normalised as in a lock."""
        listed = subprocess.run(
            [*self._find(), "list", "--format", "freeze", "--disable-pip-version-check"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        installed = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in listed.stdout.splitlines()}
        if stale := installed - names - {"pip", "setuptools"}:
            subprocess.run([*self._find(), "uninstall", "-q", "--yes", *sorted(stale)], check=True)

    def _find(self) -> list[str]:
        if self._command is None:
            if find_spec("pip") is not None:
                self._command = [sys.executable, "-m", "pip", "--python", str(self._python)]
            else:
                subprocess.run([self._python, "-m", "ensurepip"], stdout=subprocess.DEVNULL, check=True)
                self._command = [str(self._python), "-m", "pip"]
        return self._command


def parse_pip_settings(listed: str) -> dict[str, str]:
    """Parse `pip config list`, such as global.index-url='...'; install. overrides global., :env: overrides both."""
    settings: dict[str, str] = {}
    for section in ("global.", "install.", ":env:."):
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(section):
                settings[name.removeprefix(section)] = str(ast.literal_eval(value))
    return settings


def make_uv_environment(pip_settings: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, with pip's settings under uv's `names` unless uv's own are set."""
    environment = dict(os.environ)
    environment.setdefault("UV_SYSTEM_CERTS", "true")  # as pip does
    # As pip does: the best version of all indexes, not the first index that knows the package. Hashes hold for each.
    environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    for name, uv_name in names.items():
        if values := pip_settings.get(name, "").split():
            environment.setdefault(uv_name, ("," if uv_name in PARTED_BY_COMMAS else " ").join(values))
    return environment


def find_uv(venv: Path) -> str | None:
    for candidate in ("uv", str(venv / "bin/uv")):
        path = shutil.which(candidate)
        # Run it: a version manager may put names on PATH that do not work.
        if path and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            return path
    return None


def fetch_uv(pip: Pip, lock: Path, venv: Path) -> str | None:
    """Install the lock's version of uv into the environment; None if there is no wheel for this system."""
    entry = re.search(r"^uv==.*?(?=^\S|\Z)", lock.read_text(), re.MULTILINE | re.DOTALL)
    if entry is None:
        return None
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as only_uv:
        only_uv.write(entry[0])
        only_uv.flush()
        try:
            pip.install(Path(only_uv.name), "--no-deps", "--only-binary", ":all:")
        except subprocess.CalledProcessError:
            return None
    return find_uv(venv)


def install(venv: Path, lock: Path) -> None:
    pip = Pip(venv)
    uv = find_uv(venv)
    if uv is None and pip.is_there():
        say("fetching uv")
        uv = fetch_uv(pip, lock, venv)
    names = set(re.findall(r"^([a-z0-9-]+)==", lock.read_text(), re.MULTILINE))
    if uv is not None:
        say(f"installing {lock.name}: up to {len(names)} packages")
        environment = make_uv_environment(pip.read_settings(), INDEX_NAMES | FURTHER_NAMES)
        # Compiled once here, else by each of the ten processes of a cluster that start at the same time.
        command = [uv, "pip", "sync", "--python", str(venv / "bin/python"), "--compile-bytecode", str(lock)]
        # uv checks every hash of the lock in any case; with this option it would require hashes of constraints too.
        if "UV_CONSTRAINT" not in environment:
            command.append("--require-hashes")
        if not sys.stderr.isatty():
            command.append("--quiet")
        if subprocess.run(command, env=environment, check=False).returncode == 0:
            return
    if not pip.is_there():
        sys.exit("viewcounter is installed by uv or pip; found neither. Install one, such as Debian's python3-pip.")
    why = "uv failed" if uv else "uv is not available here"
    say(f"{why}: installing {lock.name} by pip, which takes a minute or more")
    try:
        pip.install(lock)
        pip.remove_others(names)
    except subprocess.CalledProcessError as error:
        sys.exit(f"pip could not install {lock.name} (exit status {error.returncode}); its output is above.")


def ensure_venv(root: Path) -> Path:
    """The environment of the folder `root`, recreated if it does not run or was not created here by this script."""
    venv = root / ".venv"
    python, stamp = venv / "bin/python", venv / STAMP
    # Programs inside contain the path of their folder: after a move they would run code of the old place.
    is_ours = not venv.is_symlink() and stamp.is_file() and stamp.read_text().splitlines()[:1] == [str(root)]
    if is_ours and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
        return venv
    say(f"creating .venv with {sys.executable}")
    if venv.is_symlink():
        venv.unlink()
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    stamp.write_text(f"{root}\n")  # ours from here on; the line of the lock follows when all of it is installed
    return venv


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def write_locks(root: Path, *options: str) -> None:
    """Lock all packages that the pins require, for every Python and system, with the hashes of their files."""
    venv = root / ".venv"
    uv = find_uv(venv)
    if uv is None:
        sys.exit("locks are written by uv, which could not be fetched; the reason is above")
    environment = make_uv_environment(Pip(venv).read_settings(), INDEX_NAMES)
    compile_lock = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
    compile_lock += ["--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "bin/lock-requirements"]
    service, local, dev = "requirements.txt", "requirements-local.txt", "requirements-dev.txt"
    patroni = "requirements-patroni.txt"
    # The largest first, but for Patroni's. The smaller ones use its versions, so that an environment can be extended.
    for pins, lock, more in (
        ([service, local, dev], "requirements-dev.lock", options),
        ([service, local], "requirements-local.lock", ("--constraints", "requirements-dev.lock")),
        ([service], "requirements.lock", ("--constraints", "requirements-dev.lock")),
        ([service, local, dev, patroni], "requirements-patroni.lock", ("--constraints", "requirements-dev.lock")),
    ):
        subprocess.run([*compile_lock, "--output-file", lock, *pins, *more], cwd=root, env=environment, check=True)


if __name__ == "__main__":
    action, root, *rest = sys.argv[1:]
    if action == "install":
        install(ensure_venv(Path(root)), Path(root, *rest))
    else:
        write_locks(Path(root), *rest)
