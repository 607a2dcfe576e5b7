"""Make .venv hold exactly what a lock file names, and write the locks: by uv, which is fetched where it is missing.

Run by bin/_bootstrap with the system's Python before anything is installed: the standard library is all there is.
Where uv is not to be had or fails, pip installs. Every file that is installed must have a hash of the lock,
whichever index or mirror served it.
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

# What pip is told by its files and its environment, and what uv, which reads neither, calls it.
INDEX_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
# Not for locks: a further index may hold one system's files of a package, and others' hashes would be missing.
FURTHER_NAMES = {"extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS", "constraint": "UV_CONSTRAINT"}
PARTED_BY_COMMAS = {"UV_FIND_LINKS"}
STAMP = "requirements.stamp"  # the folder it was made in, then the lock that is installed; see bin/_bootstrap


class Pip:
    """A pip that installs into `venv`: the system's own, or one that ensurepip puts there. Looked for when needed."""

    def __init__(self, venv: Path) -> None:
        self._python = venv / "bin/python"
        self._command: list[str] | None = None

    def is_there(self) -> bool:
        return find_spec("pip") is not None or find_spec("ensurepip") is not None

    def read_settings(self) -> dict[str, str]:
        """What pip would use, from its files and the environment: the latter wins. Empty where there is no pip."""
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
        """Uninstall what is in the environment and not among `names`, normalised as in a lock."""
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
    """The lines of `pip config list`, such as global.index-url='...'; install. goes over global., :env: over both."""
    settings: dict[str, str] = {}
    for section in ("global.", "install.", ":env:."):
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(section):
                settings[name.removeprefix(section)] = str(ast.literal_eval(value))
    return settings


def make_uv_environment(pip_settings: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, and pip's settings under uv's `names` where uv was not told otherwise."""
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
        # Run it: a version manager may put names on PATH that it does not stand for.
        if path and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            return path
    return None


def fetch_uv(pip: Pip, lock: Path, venv: Path) -> str | None:
    """Install the uv that the lock names into the environment; None where there is no wheel for this system."""
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
        # Compiled once here, or else by each of the ten processes of a cluster that start at the same time.
        command = [uv, "pip", "sync", "--python", str(venv / "bin/python"), "--compile-bytecode", str(lock)]
        # uv checks every hash of the lock either way; told to demand them, it would demand them of constraints too.
        if "UV_CONSTRAINT" not in environment:
            command.append("--require-hashes")
        if not sys.stderr.isatty():
            command.append("--quiet")
        if subprocess.run(command, env=environment, check=False).returncode == 0:
            return
    if not pip.is_there():
        sys.exit("viewcounter is installed by uv or pip; found neither. Install one, such as Debian's python3-pip.")
    why = "uv failed" if uv else "uv is not to be had here"
    say(f"{why}: installing {lock.name} by pip, which takes a minute or more")
    try:
        pip.install(lock)
        pip.remove_others(names)
    except subprocess.CalledProcessError as error:
        sys.exit(f"pip could not install {lock.name} (exit status {error.returncode}); what it said is above.")


def ensure_venv(root: Path) -> Path:
    """The environment of the folder `root`, made anew where it does not run or was not made here by us."""
    venv = root / ".venv"
    python, stamp = venv / "bin/python", venv / STAMP
    # Programs inside name the folder they were installed in: after a move they would run code of another place.
    is_ours = not venv.is_symlink() and stamp.is_file() and stamp.read_text().splitlines()[:1] == [str(root)]
    if is_ours and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
        return venv
    say(f"creating .venv with {sys.executable}")
    if venv.is_symlink():
        venv.unlink()
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    stamp.write_text(f"{root}\n")  # ours from here on; the lock follows when all of it is installed
    return venv


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def write_locks(root: Path, *options: str) -> None:
    """Lock every package that the pins bring, for each Python and system, with the hashes of its files."""
    venv = root / ".venv"
    uv = find_uv(venv)
    if uv is None:
        sys.exit("there is no uv to write the locks with: see above why bin/ could not fetch it")
    environment = make_uv_environment(Pip(venv).read_settings(), INDEX_NAMES)
    compile_lock = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
    compile_lock += ["--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "bin/lock-requirements"]
    service, local, dev = "requirements.txt", "requirements-local.txt", "requirements-dev.txt"
    # The largest first. The smaller ones take its versions, so that an environment can be extended by what is missing.
    for pins, lock, more in (
        ([service, local, dev], "requirements-dev.lock", options),
        ([service, local], "requirements-local.lock", ("--constraints", "requirements-dev.lock")),
        ([service], "requirements.lock", ("--constraints", "requirements-dev.lock")),
    ):
        subprocess.run([*compile_lock, "--output-file", lock, *pins, *more], cwd=root, env=environment, check=True)


if __name__ == "__main__":
    action, root, *rest = sys.argv[1:]
    if action == "install":
        install(ensure_venv(Path(root)), Path(root, *rest))
    else:
        write_locks(Path(root), *rest)
