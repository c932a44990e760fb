"""Stage `gate`: fail if `evaluate.gate` is on and the tuned model is surely less steady than the base."""

from stages import common
from steadyphi.errors import SteadyPhiError
from steadyphi.files import read_object, write_json
from steadyphi.settings.schema import Gate
from steadyphi.tracking.stage_run import StageRun


def main(run: StageRun) -> None:
    """Read the gate's result from the comparison of `publish`; the report exists even if the gate fails."""
    settings = common.settings("gate", Gate)
    common.GATE.unlink(missing_ok=True)
    gate = read_object(common.REPORT / "comparison.json", "a comparison", finite=False)["gate"]
    run.metrics({"gate_passed": float(gate["passed"])})
    for reason in gate["reasons"]:
        print(f"gate: {reason}")
    if settings.gate and not gate["passed"]:
        raise SteadyPhiError(
            f"evaluate.gate: {'; '.join(gate['reasons'])}; {common.REPORT}/report.html shows where"
        )
    write_json(common.GATE, gate)
    print(f"gate: {'passed' if gate['passed'] else 'not passed, but evaluate.gate is off'}")


if __name__ == "__main__":
    common.run_stage("gate", main)
