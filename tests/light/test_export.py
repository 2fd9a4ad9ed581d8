"""What an export refuses, before anything is read or made."""

from pathlib import Path

import pytest

from ppo.evaluate import export
from ppo.evaluate.export import ExportError
from ppo.files.folder import FolderError


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("agent.h5", "no format .h5. The name chooses it: FILE.keras, FILE.onnx, or FOLDER/"),
        ("v1.2", "FILE.keras, FILE.onnx, or FOLDER/"),
        ("there.keras", "there.keras exists; choose a free name"),
        ("folder", "folder exists; choose a free name"),
        ("nowhere/agent.keras", "there is no folder"),
        (".onnx", "invented_exporter cannot be found; install with: pip install tf2onnx onnx"),
        ("agent.onnx", "invented_exporter cannot be found; install with: pip install tf2onnx onnx"),
    ],
)
def test_target_that_cannot_be_is_refused_with_the_remedy(tmp_path, monkeypatch, target, message):
    monkeypatch.setattr(export, "WRITE_ONNX", ("json", "invented_exporter"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.keras").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FolderError, match=message):
        export.export_run(tmp_path / "no-run", target)
    assert {path.name for path in tmp_path.iterdir()} == {"there.keras", "folder"}


def test_a_name_that_was_taken_meanwhile_is_left_alone(tmp_path):
    class Network:
        def save(self, path: Path) -> None:
            path.write_text("mine")
            (tmp_path / "agent.keras").write_text("of another export")

    with pytest.raises(ExportError, match="its name was taken meanwhile"):
        export._write(Network(), tmp_path / "agent.keras", ".keras")
    (file,) = tmp_path.iterdir()
    assert file.read_text() == "of another export"


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FolderError, match="holds no run"):
        export.export_run(tmp_path, f"{tmp_path}/v1.2/")
