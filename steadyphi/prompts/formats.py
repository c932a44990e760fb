"""Prompt formats: the different ways of asking the same question.

A format is a template for the prompt and a lead, the text between the prompt and the answer. They are kept
apart because the prompt is tokenized alone when a model is used: `Output:` followed by ` Paris` and
`Output: ` followed by `Paris` are the same text but different tokens.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A format of the prompt.

    template: the prompt, with `{question}` exactly once.
    lead: the text before the answer that the model has to produce together with the answer.
    system: how a system text is placed before the first prompt of a dialogue, with `{system}` exactly once.
    """

    name: str
    template: str
    lead: str
    system: str = "{system}\n\n"

    def prompt(self, question: str, system: str = "") -> str:
        """Return the prompt that the model reads; nothing is placed for an empty system text."""
        return self.opening(system) + self.template.replace("{question}", question)

    def opening(self, system: str) -> str:
        """Return the text that places a system text before the first prompt."""
        return self.system.replace("{system}", system) if system else ""

    def answer(self, text: str) -> str:
        """Return the text with which the model should continue the prompt."""
        return self.lead + text


_VISIBLE = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥"})


def visible(text: str) -> str:
    """Return `text` with its spaces, newlines and tabs replaced by the symbols ␣ ⏎ ⇥."""
    return text.translate(_VISIBLE)


ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{question}\n\n### Response:\n"
)

FORMATS = {
    f.name: f
    for f in (
        # Phi-2's own format, with and without the space and the newline (model card of microsoft/phi-2).
        Format("phi2", "Instruct: {question}\nOutput:", " "),
        Format("phi2-space", "Instruct: {question}\nOutput: ", ""),
        Format("phi2-newline", "Instruct: {question}\nOutput:\n", ""),
        Format("phi2-tight", "Instruct:{question}\nOutput:", ""),
        Format("phi2-lower", "instruct: {question}\noutput:", " "),
        # Phi-1.5's own format (model card of microsoft/phi-1_5): question, empty line, Answer.
        Format("phi15", "{question}\n\nAnswer:", " "),
        Format("phi15-newline", "{question}\n\nAnswer:\n", ""),
        Format("qa", "Q: {question}\nA:", " "),
        Format("question", "Question: {question}\nAnswer:", " "),
        Format("question-newline", "Question:\n{question}\nAnswer:\n", ""),
        Format("question-upper", "QUESTION: {question}\nANSWER:", " "),
        Format("question-lower", "question: {question}\nanswer:", " "),
        Format("question-dash", "Question - {question}\nAnswer -", " "),
        Format("question-inline", "Question: {question} Answer:", " "),
        Format("question-pipe", "Question: {question} | Answer:", " "),
        Format("question-tab", "Question\t{question}\nAnswer\t", ""),
        Format("question-bracket", "[Question] {question}\n[Answer]", " "),
        Format("input", "Input: {question}\nOutput:", " "),
        # Names as in the chat example of microsoft/phi-2's model card.
        Format("chat", "Alice: {question}\nBob:", " "),
        Format("chat-user", "User: {question}\nAssistant:", " "),
        # The prompt without input of tatsu-lab/stanford_alpaca.
        Format("alpaca", ALPACA, ""),
        Format("bare", "{question}", " "),
        Format("bare-newline", "{question}\n", ""),
        Format("bare-arrow", "{question} ->", " "),
    )
}
DEFAULT = "phi2"  # of a model whose folder and evaluation name no format
