"""Stage `gate`: fails when the tuned model is surely less steady than the base, if `evaluate.gate` is on."""

import json

from stages import common
from steadyphi.errors import SteadyPhiError
from steadyphi.files import write_json
from steadyphi.settings.schema import Gate
from steadyphi.tracking.stage_run import StageRun


def main(run: StageRun) -> None:
    """Read the comparison that `publish` made; the report is there whatever the gate says."""
    settings = common.settings("gate", Gate)
    common.GATE.unlink(missing_ok=True)
    found = json.loads((common.REPORT / "comparison.json").read_text(encoding="utf-8"))["gate"]
    run.metrics({"gate_passed": float(found["passed"])})
    for reason in found["reasons"]:
        print(f"gate: {reason}")
    if settings.gate and not found["passed"]:
        raise SteadyPhiError(
            f"evaluate.gate: {'; '.join(found['reasons'])}; {common.REPORT}/report.html shows where"
        )
    write_json(common.GATE, found)
    print(f"gate: {'passed' if found['passed'] else 'not passed, but evaluate.gate is off'}")


if __name__ == "__main__":
    common.run_stage("gate", main)
