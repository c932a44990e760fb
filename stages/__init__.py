"""One short module a stage of dvc.yaml; the substance lives in steadyphi/."""
