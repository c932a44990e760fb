"""What each measure of a run is called and means, in one sentence."""

from dataclasses import dataclass
from typing import Any

from steadyphi.report.wording import number, percent, points


@dataclass(frozen=True)
class Measure:
    """A measure's name, its kind ("share", "points" or "number") and its meaning."""

    name: str
    kind: str
    meaning: str

    def text(self, value: float | None) -> str:
        """Return a value of this measure as the page shows it."""
        if self.kind == "share":
            return percent(value)
        return f"{percent(value).rstrip('%')} points" if self.kind == "points" else number(value)

    def change(self, value: float | None) -> str:
        """Return a difference of two values of this measure as the page shows it."""
        if value is None or self.kind != "number":
            return f"{points(value)} points" if value is not None else ""
        return ("+" if value > 0 else "") + number(float(value))

    def interval(self, entry: Any, change: bool = False) -> str:
        """Return the interval of an entry with `low` and `high`, or nothing."""
        text = self.change if change else self.text
        known = entry.get("low") is not None and entry.get("high") is not None
        return f"{text(entry['low']).removesuffix(' points')} to {text(entry['high'])}" if known else ""


def known(key: str) -> Measure:
    """Return what is known of a measure; one that is not listed goes by its key."""
    return MEASURES.get(key, Measure(key.replace("_", " "), "number", ""))


# In the order of the page.
MEASURES = {
    "accuracy_mean": Measure(
        "Mean accuracy", "share", "The share of right answers, averaged over the formats."
    ),
    "accuracy_best": Measure(
        "Best format", "share", "The accuracy in the format that is best on these questions."
    ),
    "accuracy_worst": Measure(
        "Worst format", "share", "The accuracy in the format that is worst on these questions."
    ),
    "accuracy_best_heldout": Measure(
        "Best format, held out",
        "share",
        "The best format is chosen on some questions and measured on others.",
    ),
    "accuracy_worst_heldout": Measure(
        "Worst format, held out",
        "share",
        "The worst format is chosen on some questions and measured on others.",
    ),
    "accuracy_unseen": Measure(
        "Mean accuracy, new formats", "share", "The mean accuracy over formats that were not trained on."
    ),
    "probability": Measure(
        "Probability", "share", "The mean probability of the right answer among the choices."
    ),
    "spread": Measure(
        "Spread", "points", "The best format's accuracy less the worst's; chance alone makes it positive."
    ),
    "spread_unseen": Measure(
        "Spread, new formats", "points", "The spread over formats that were not trained on."
    ),
    "spread_corrected": Measure(
        "Spread without noise",
        "points",
        "The spread to expect between formats if the questions were without number.",
    ),
    "spread_heldout": Measure(
        "Spread, held out",
        "points",
        "Best less worst format, both chosen on some questions and measured on others.",
    ),
    "sigma_format": Measure(
        "Deviation between formats",
        "points",
        "The standard deviation of true accuracies over formats, noise removed.",
    ),
    "noise_share": Measure(
        "Share of noise", "share", "How much of the variance between formats is due to few questions."
    ),
    "p_value": Measure(
        "Formats differ, p",
        "number",
        "How often formats of no effect would look as different; small means they differ.",
    ),
    "right_in_all_formats": Measure(
        "Right in all formats", "share", "Questions that are answered right in every format."
    ),
    "right_in_any_format": Measure(
        "Right in any format", "share", "Questions that are answered right in one format at least."
    ),
    "saturation": Measure(
        "Saturation", "share", "One less the gap between best and mean accuracy (Mizrahi et al. 2024)."
    ),
    "cps": Measure(
        "Combined score",
        "share",
        "Saturation times best accuracy: strong and steady at once (Mizrahi et al. 2024).",
    ),
    "flip_rate": Measure(
        "Flip rate", "share", "How often two formats give different answers to the same question."
    ),
    "consistency": Measure(
        "Consistency", "share", "How often two formats give the same answer to the same question."
    ),
    "pss": Measure(
        "PromptSensiScore",
        "number",
        "The mean difference between prompts per question (Zhuo et al. 2024); 0 is steady.",
    ),
    "pss_max": Measure(
        "PromptSensiScore, highest", "number", "The largest value that is possible with so many prompts."
    ),
    "posix": Measure(
        "POSIX",
        "number",
        "How much an answer's log-probability moves, in nats per token (Chatterjee et al. 2024).",
    ),
    "errica_sensitivity": Measure(
        "Sensitivity",
        "number",
        "The entropy of a question's answers over prompts, 0 to 1 (Errica et al. 2024).",
    ),
    "errica_consistency": Measure(
        "Consistency within classes",
        "number",
        "How alike the answers to two questions of one class are (Errica et al. 2024).",
    ),
    "jsd": Measure(
        "Jensen–Shannon divergence", "number", "How far the prompts' distributions over answers lie apart."
    ),
    "pdr": Measure(
        "Performance drop rate",
        "share",
        "The share of accuracy that is lost under changed prompts (Zhu et al. 2023).",
    ),
    "against_default": Measure(
        "Against the default",
        "points",
        "Mean accuracy less the default format's on the same questions.",
    ),
    "position_bias": Measure(
        "Drawn to a place", "share", "Answers that a preference for places among listed options moves."
    ),
    "recall_deviation": Measure(
        "Deviation between places",
        "points",
        "The standard deviation, over the options' places, of how often right answers there are found.",
    ),
    "right": Measure("Right", "share", "The share of long prompts that are answered right."),
    "ece": Measure(
        "Calibration error",
        "number",
        "The mean gap between confidence and accuracy, in bins (Guo et al. 2017).",
    ),
    "open_accuracy_mean": Measure(
        "Mean accuracy, generated text",
        "share",
        "Answers in the model's own words, over the formats asked so.",
    ),
    "open_accuracy_best": Measure(
        "Best format, generated text", "share", "The same in the format that is best for it."
    ),
    "open_accuracy_worst": Measure(
        "Worst format, generated text", "share", "The same in the format that is worst for it."
    ),
    "open_cut_short": Measure(
        "Cut short, generated text",
        "share",
        "Generated answers that ended because no more tokens were allowed.",
    ),
    "grammar_accuracy": Measure(
        "Formats of the grammar",
        "share",
        "Mean accuracy over drawn formats; the interval is for other formats too.",
    ),
    "open_spread": Measure("Spread, generated text", "points", "The best of these less the worst."),
    "output_length_ratio": Measure(
        "Output length ratio", "number", "How much longer answers are when the prompt ends in a newline."
    ),
    "noise_flip_rate": Measure(
        "Rounding", "share", "Answers that change when the same prompts are only batched otherwise."
    ),
}
