"""Stage `fetch`: download and verify the upstream checkpoint, and write its manifest."""

from dataclasses import asdict

from stages import common
from steadyphi.checkpoint import manifest
from steadyphi.files import atomic_dir, sha256, write_json
from steadyphi.hub.fetch import fetch
from steadyphi.settings.schema import Fetch
from steadyphi.tracking.stage_run import StageRun


def main(run: StageRun) -> None:
    """Fetch the checkpoint that `artifacts/config/fetch.yaml` names into `artifacts/weights`."""
    settings = common.settings("fetch", Fetch)
    run.params(asdict(settings))
    kept = common.cache("fetch") / f"{settings.source.replace('/', '--')}@{settings.revision}"
    with atomic_dir(common.WEIGHTS) as folder:
        content = fetch(settings.source, settings.revision, folder, kept, settings.from_safetensors)
        manifest.write(folder, content)
    metrics = {"files": len(content["files"]), "bytes": sum(f["size"] for f in content["files"].values())}
    write_json(common.METRICS / "fetch.json", metrics)
    run.metrics(metrics)
    run.output("manifest", sha256(common.WEIGHTS / manifest.NAME))


if __name__ == "__main__":
    common.run_stage("fetch", main)
