"""Target `hub-folder`: the model folder as it is, with a model card, ready to be uploaded by other programs."""

from __future__ import annotations

from pathlib import Path

from recsys_dist.errors import DataError
from recsys_dist.evaluation.report import EvaluationReport
from recsys_dist.export.card import model_card
from recsys_dist.export.output import ExportWriter, Figures
from recsys_dist.inference.predictor import Predictor
from recsys_dist.model_folder.manifest import MODEL_FILE

REPORT_FILE = "report.json"


def write_hub_folder(predictor: Predictor, out: ExportWriter, evaluation: Path | None) -> Figures:
    """Copy the model and write README.md; with an evaluation also report.json.

    Without `evaluation`, a report.json in the model folder is taken. Raises `DataError` if a report is not about
    this model.
    """
    folder = predictor.catalog.folder
    report = _report(predictor, evaluation)
    for record in folder.manifest.files:
        out.copy(folder.folder, record, record.name)
    out.write(MODEL_FILE, folder.folder.read_bytes(MODEL_FILE))
    out.write("README.md", model_card(folder.manifest, report).encode())
    num_bytes = sum(record.bytes for record in out.files)
    return {"model_files": len(folder.manifest.files) + 1, "bytes": num_bytes, "evaluated": report is not None}


def _report(predictor: Predictor, evaluation: Path | None) -> EvaluationReport | None:
    folder = predictor.catalog.folder
    if evaluation is None and folder.folder.is_local:
        beside = folder.folder.local_path(REPORT_FILE)
        evaluation = beside if beside.is_file() else None
    if evaluation is None:
        return None
    report = EvaluationReport.read(evaluation)
    if report.model.digest != folder.manifest.contents_digest:
        raise DataError(
            f"{evaluation} is about another model ({report.model.kind}, digest {report.model.digest[:12]}), not "
            f"about {predictor.catalog.url} (digest {folder.manifest.contents_digest[:12]}); evaluate this one"
        )
    return report
