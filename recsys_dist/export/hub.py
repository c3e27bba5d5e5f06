"""Target `hub-folder`: the model folder as it is, with a model card, ready to be uploaded by other programs."""

from __future__ import annotations

from pathlib import Path

from recsys_dist.errors import DataError
from recsys_dist.evaluation.report import EvaluationReport
from recsys_dist.export.card import model_card
from recsys_dist.export.output import ExportWriter, Figures
from recsys_dist.export.without_users import write_without_users
from recsys_dist.inference.predictor import Predictor
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.model_folder.manifest import MODEL_FILE, ModelManifest

REPORT_FILE = "report.json"


def write_hub_folder(
    predictor: Predictor, out: ExportWriter, evaluation: Path | None, without_users: bool
) -> Figures:
    """Copy the model, if wanted without its users, and write its card as README.md.

    The card has the figures of `evaluation`, or else of a report.json in the model folder. Raises `DataError` if a
    report is not about this model, and `ConfigError` if the family cannot leave out its users.
    """
    folder = predictor.catalog.folder
    report = _report(predictor, evaluation)
    written = write_without_users(folder, out) if without_users else _copied(folder, out)
    out.write("README.md", model_card(folder.manifest, written, report).encode())
    return {"has_users": not without_users, "is_evaluated": report is not None, "digest": written.contents_digest}


def _copied(folder: ModelFolder, out: ExportWriter) -> ModelManifest:
    for record in folder.manifest.files:
        out.copy(folder.folder, record, record.name)
    out.write(MODEL_FILE, folder.folder.read_bytes(MODEL_FILE))
    return folder.manifest


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
