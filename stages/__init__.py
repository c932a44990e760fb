"""One short module per stage of dvc.yaml; the implementation is in steadyphi/."""
