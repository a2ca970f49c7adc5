"""The only reader of environment variables: each has a name, a default and a line of help."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from postil.secret import Address, Options, Secret

T = TypeVar("T")
EMBEDDED = "smollm2-135m-instruct"  # the base model where none is named
AUTO = "auto"


def _from(variable: str, understood: Callable[[str], T]) -> T:
    """A field that is read from a variable when the settings are made; what is not set is an empty text."""
    read: T = field(
        default_factory=lambda: understood(os.environ.get(variable, "")), metadata={"variable": variable}
    )  # fmt: skip
    return read


def _number(text: str, default: float) -> float:
    try:
        return float(text)
    except ValueError:
        return default


@dataclass(frozen=True)
class Settings:
    """Where things lie and what they cost on this machine. `postil doctor` prints them all.

    home            POSTIL_HOME              base models and caches
    language        POSTIL_LANG              zh | en; empty: the system's
    hub             POSTIL_HUB               huggingface | modelscope; empty: chosen by language
    hub_mirror      POSTIL_HF_ENDPOINT       another address that speaks Hugging Face's protocol
    price_per_kwh   POSTIL_PRICE_PER_KWH     price of a kilowatt-hour, in `currency`
    price_per_hour  POSTIL_PRICE_PER_HOUR    price of a rented machine's hour, in `currency`; 0: own machine
    watts           POSTIL_WATTS             what this machine draws while training
    currency        POSTIL_CURRENCY          CNY | USD
    cny_per_usd     POSTIL_CNY_PER_USD       exchange rate, to show both
    data            POSTIL_DATA              where jobs, files and adapters lie; empty: studio below POSTIL_HOME
    database        POSTIL_DATABASE          postgresql://... when machines share the jobs; empty: SQLite in POSTIL_DATA
    files           POSTIL_FILES             where uploads go: a directory, s3://..., oss://...; empty: in POSTIL_DATA
    hosts           POSTIL_HOSTS             more addresses under which the server answers, with commas: api.example.com
    judge_url       POSTIL_JUDGE_URL         a model that judges answers, by OpenAI's protocol: https://example.com/v1
    judge_model     POSTIL_JUDGE_MODEL       its name there; its key: POSTIL_JUDGE_KEY, which is never printed
    judge_key_file  POSTIL_JUDGE_KEY_FILE    or a file with the key, which jobs of a server can read, too
    networks        POSTIL_NETWORKS          private networks of yours that may be asked (a judge, a recording), with
                                             commas: 10.1.0.0/16, 192.168.7.20
    engine          POSTIL_ENGINE            who answers in `postil serve`: ours | vllm
    engine_device   POSTIL_ENGINE_DEVICE     where ours computes: auto (a GPU with room for it) | cpu | cuda | cuda:1
    engine_idle     POSTIL_ENGINE_IDLE       minutes after which an engine that nobody asks gives back its memory; 0:
                                             it keeps it
    vllm_url        POSTIL_VLLM_URL          a vLLM that runs already, with the base model in it: http://127.0.0.1:8000;
                                             its key: POSTIL_VLLM_KEY, which is never printed
    vllm_command    POSTIL_VLLM_COMMAND      else what starts one: vllm, /opt/vllm/bin/vllm
    vllm_args       POSTIL_VLLM_ARGS         more options for it: --max-lora-rank 128 --gpu-memory-utilization 0.8
    trackers        POSTIL_TRACKERS          where a run's curves go besides TensorBoard's files, with commas: wandb,
                                             swanlab, mlflow; none: not even those
    tracker_project POSTIL_TRACKER_PROJECT   the project's name there
    require_all     POSTIL_REQUIRE_ALL       tests only: a skipped test is a failure
    """

    home: Path = _from("POSTIL_HOME", lambda text: Path(text or "~/.postil").expanduser())
    language: str = _from("POSTIL_LANG", str)
    hub: str = _from("POSTIL_HUB", str)
    hub_mirror: Address = _from("POSTIL_HF_ENDPOINT", Address)
    price_per_kwh: float = _from("POSTIL_PRICE_PER_KWH", lambda text: _number(text, 0.6))
    price_per_hour: float = _from("POSTIL_PRICE_PER_HOUR", lambda text: _number(text, 0.0))
    watts: float = _from("POSTIL_WATTS", lambda text: _number(text, 65.0))
    currency: str = _from("POSTIL_CURRENCY", lambda text: text or "CNY")
    cny_per_usd: float = _from("POSTIL_CNY_PER_USD", lambda text: _number(text, 7.1))
    data: Path | None = _from("POSTIL_DATA", lambda text: Path(text).expanduser() if text else None)
    database: Address = _from("POSTIL_DATABASE", Address)
    files: Address = _from("POSTIL_FILES", Address)
    hosts: str = _from("POSTIL_HOSTS", str)
    judge_url: Address = _from("POSTIL_JUDGE_URL", Address)
    judge_model: str = _from("POSTIL_JUDGE_MODEL", str)
    judge_key_file: str = _from("POSTIL_JUDGE_KEY_FILE", str)
    networks: str = _from("POSTIL_NETWORKS", str)
    engine: str = _from("POSTIL_ENGINE", lambda text: text or "ours")
    engine_device: str = _from("POSTIL_ENGINE_DEVICE", lambda text: text or AUTO)
    engine_idle: float = _from("POSTIL_ENGINE_IDLE", lambda text: _number(text, 15.0))
    vllm_url: Address = _from("POSTIL_VLLM_URL", Address)
    vllm_command: str = _from("POSTIL_VLLM_COMMAND", lambda text: text or "vllm")
    vllm_args: Options = _from("POSTIL_VLLM_ARGS", Options)
    trackers: str = _from("POSTIL_TRACKERS", str)
    tracker_project: str = _from("POSTIL_TRACKER_PROJECT", lambda text: text or "postil")
    require_all: bool = _from("POSTIL_REQUIRE_ALL", lambda text: text == "1")

    def __post_init__(self) -> None:
        """What may hold a password hides itself, whoever made the settings."""
        for name, kind in _HIDING.items():
            object.__setattr__(self, name, kind(getattr(self, name)))

    def as_json(self) -> dict[str, str]:
        """Variable -> value, as a person sees them: without keys and passwords."""
        values = zip(fields(self), astuple(self), strict=True)
        return {one.metadata["variable"]: "" if value is None else str(value) for one, value in values}


_ADDRESSES = ("database", "files", "judge_url", "vllm_url", "hub_mirror")
_HIDING: dict[str, type[Secret]] = {**dict.fromkeys(_ADDRESSES, Address), "vllm_args": Options}


def judge_key() -> Secret:
    """The judge's key, from the environment or the file that is named there; empty when there is none.

    It is no field of the settings, so that nothing that prints or keeps settings has it.
    """
    file = os.environ.get("POSTIL_JUDGE_KEY_FILE", "")
    if key := os.environ.get("POSTIL_JUDGE_KEY", "").strip():
        return Secret(key)
    try:
        return Secret(Path(file).expanduser().read_text("utf-8").strip() if file else "")
    except (OSError, UnicodeDecodeError):
        return Secret()


@dataclass(frozen=True)
class Ranks:
    """This process's place among those that train together, as torchrun says it (one process if it says nothing)."""

    rank: int = _from("RANK", lambda text: int(_number(text, 0)))
    local_rank: int = _from("LOCAL_RANK", lambda text: int(_number(text, 0)))
    world: int = _from("WORLD_SIZE", lambda text: int(_number(text, 1)))


_QUIET = {
    "OMP_WAIT_POLICY": "passive",  # threads that spin while they wait slow a shared machine down threefold
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",  # nothing is fetched but by `postil models pull`
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",  # and what other packages would tell their makers
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
}


_REMOTE_KEY = "POSTIL_REMOTE_KEY"


def remote_key() -> Secret:
    """POSTIL_REMOTE_KEY: the key for the endpoint that `postil golden` asks. No setting: `doctor` prints those."""
    return Secret(os.environ.get(_REMOTE_KEY, "").strip())


_VLLM_KEY = "POSTIL_VLLM_KEY"


def vllm_key() -> Secret:
    """POSTIL_VLLM_KEY: the key for a vLLM that runs already. No setting: `doctor` prints those."""
    return Secret(os.environ.get(_VLLM_KEY, "").strip())


def quiet() -> None:
    """Set what OpenMP and the tokenizers read only once: to be called before torch is loaded."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


# in the directory where we happen to stand may lie a random.py, or a clone of ours: nothing is imported from there
_ISOLATED = {"PYTHONUTF8": "1", "PYTHONSAFEPATH": "1"}


def for_child() -> dict[str, str]:
    """The environment of a process that we start: ours, made quiet, and with UTF-8 whatever the system speaks."""
    ours = {name: value for name, value in os.environ.items() if name not in (_REMOTE_KEY, _VLLM_KEY)}
    return {**_QUIET, **ours, **_ISOLATED}


def for_vllm(key: str) -> dict[str, str]:
    """The environment of a vLLM that we start: it takes adapters while it runs, from whoever has this key."""
    return {**for_child(), "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_API_KEY": key,
            "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}  # fmt: skip


_FOR_WORKER = (
    "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "USERPROFILE", "APPDATA",
    "LOCALAPPDATA", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHASHSEED", "CUDA_HOME",
    "CUDA_VISIBLE_DEVICES", "OMP_WAIT_POLICY",
    "POSTIL_HOME", "POSTIL_LANG", "POSTIL_PRICE_PER_KWH", "POSTIL_PRICE_PER_HOUR", "POSTIL_WATTS", "POSTIL_CURRENCY",
    "POSTIL_CNY_PER_USD", "POSTIL_JUDGE_URL", "POSTIL_JUDGE_MODEL", "POSTIL_JUDGE_KEY_FILE",
    "POSTIL_NETWORKS", "POSTIL_TRACKERS", "POSTIL_TRACKER_PROJECT",
)  # fmt: skip


_FOR_DOWNLOADS = (
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "PIP_CONFIG_FILE",
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT", "PIP_PROXY", "POSTIL_HUB",
    "POSTIL_HF_ENDPOINT",
)  # fmt: skip


_SERVED = "POSTIL_SERVED"


def is_served() -> bool:
    """Whether a server has started this process: who reads what it says has no command line before them."""
    return _SERVED in os.environ


def for_worker(*, downloads: bool = False) -> dict[str, str]:
    """The environment of a server's process: a short list of names, so that no key or password travels along.

    `downloads`: with what the user's pip and proxies are set by.
    """
    wanted = (*_FOR_WORKER, *_FOR_DOWNLOADS) if downloads else _FOR_WORKER
    known = {name: os.environ[name] for name in wanted if name in os.environ}
    return {**_QUIET, **known, "HF_HUB_OFFLINE": "1", **_ISOLATED, _SERVED: "1"}


def _travels_in_the_open(address: Address) -> bool:
    """Whether others could read what is sent there on its way."""
    try:
        parts = urlsplit(address.reveal().strip())
        return parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1")
    except ValueError:  # it is no address, which whoever asks it says
        return True


def online() -> dict[str, str]:
    """The environment for a child process that downloads: this one's, without the switches that forbid it.

    To a mirror that is not encrypted no token goes along: others could read it on the way.
    """
    closed = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
    open_mirror = _travels_in_the_open(Settings().hub_mirror)
    if open_mirror:
        closed += ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]
    kept = {name: value for name, value in for_child().items() if name not in closed}
    tokens = {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"} if open_mirror else {}
    return {**kept, **tokens, "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
