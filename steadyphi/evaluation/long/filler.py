"""Filler text: unimportant sentences, to hide facts in and to pad questions with.

The sentences were written for this purpose. They contain no numbers, no colours and no word of a fact
(`steadyphi.evaluation.long.facts`), so nothing in them can be mistaken for an answer.
"""

import random
import re
from collections.abc import Sequence


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


SENTENCES = _lines(
    """
    It was a calm morning.
    Nobody was in a hurry.
    The air felt fresh.
    People talked for a while.
    The road was almost empty.
    Some of the houses have a wide roof.
    The neighbours like to talk about the weather.
    After breakfast there was time for a long walk.
    A gentle wind blew over the fields.
    The path goes along the wall and then up the hill.
    Most of the visitors arrive early and stay until the evening.
    It takes some patience to learn a new habit.
    The children played outside until it was time to go home.
    Many people prefer a short meal at noon.
    The old couple walked slowly and said very little.
    Good work often needs a quiet place.
    It is pleasant to sit in the shade when the day is warm.
    Nothing unusual happened during the week.
    The guests thanked everybody and went on with their journey.
    A little rain fell in the afternoon.
    The street was busy because of the holiday.
    They spoke about their plans and about the coming season.
    Some stories are better when they are told slowly.
    The grass had been cut a few days before.
    It is not easy to remember every detail of a conversation.
    The workers took a break and talked about sport.
    A friendly voice answered from the other side of the yard.
    The house stands at the end of a narrow lane.
    There was a smell of fresh coffee in the hall.
    Everybody agreed that the evening had been a success.
    Long walks are good for the health.
    The wind became stronger towards the evening.
    Visitors are asked to be patient.
    She thought about the matter for some time and then smiled.
    He could not say why the tune had stayed in his mind.
    The family usually spends the holidays at the coast.
    It helps to make a plan before the work begins.
    The conversation turned to music and to old friends.
    In spring the days become longer and the nights milder.
    A few birds were singing behind the wall.
    The meeting began a little later than expected.
    Nobody could remember such a mild autumn.
    There was plenty of time left to rest.
    The dust on the road shows that it has not rained for a while.
    Sometimes a small change makes a great difference.
    The room was tidy and smelled of soft wood.
    A good night of sleep is worth a lot.
    The crowd waited politely until the speech was over.
    It is said that the view from the hill is beautiful.
    They had lunch together and went their separate ways.
    The clothes were left outside to dry.
    The noise of the traffic could hardly be heard.
    Travelling by train gives people time to think.
    The older brother liked to sing while he worked.
    Every evening they went for a stroll around the block.
    The weather had been changing all day.
    A kind word can make somebody happy.
    The dog slept in the sun and did not move.
    Life in the country has its own rhythm.
    The sky was clear and the air was cool.
    Most of the time it is enough to listen.
    The lecture was longer than usual, but nobody minded.
    When the wind dropped, it became quite warm.
    The travellers were glad to arrive before dark.
    There is always something to repair in an old house.
    The news spread quickly among the neighbours.
    Nobody knew who had started the discussion.
    The tea was still too hot to drink.
    It was the kind of afternoon that seems to last for ever.
    Before the concert everybody was a little nervous.
    The way back always seems shorter than the way there.
    They promised to meet again soon.
    """
)

# {word} is a word of the question. In quotation marks, any word fits grammatically.
ABOUT = _lines(
    """
    The word "{word}" came up in a talk last week.
    Some people use the word "{word}" every day.
    A short article about "{word}" was read aloud.
    Nobody was surprised to hear about "{word}" again.
    The word "{word}" has been in use for a long time.
    There was a long conversation about "{word}" after lunch.
    It is easy to say something about "{word}".
    The children were asked what "{word}" means.
    Somebody wanted to know how "{word}" is spelled.
    A visitor had many things to say about "{word}".
    In some languages there is no word for "{word}".
    The word "{word}" is found in many stories.
    They spoke about "{word}" and then about the weather.
    Most people know what "{word}" means.
    A whole lecture about "{word}" would be too long.
    The neighbours have talked about "{word}" before.
    Questions about "{word}" are often asked.
    It takes some patience to explain "{word}".
    The conversation turned to "{word}" once more.
    A friend has written a story about "{word}".
    To write about "{word}" is harder than it seems.
    Nothing more was said about "{word}".
    """
)


def take(sentences: Sequence[str], tokens: Sequence[int], spare: int, rng: random.Random) -> list[str]:
    """Return as many sentences as fit in `spare` tokens.

    tokens: the number of tokens of each sentence. The order is random, and all sentences are used before one
    is repeated. A sentence that is too long for the remaining tokens is skipped. With the same `rng` and more
    tokens to spare, the beginning is the same.
    """
    chosen: list[str] = []
    while spare >= min(tokens):
        for index in rng.sample(range(len(sentences)), len(sentences)):
            if tokens[index] <= spare:
                chosen.append(sentences[index])
                spare -= tokens[index]
    return chosen


def without(sentences: Sequence[str], phrases: Sequence[str]) -> list[str]:
    """Return the sentences that contain none of the phrases, as whole words, ignoring case."""
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(p.strip())}(?!\w)" for p in phrases), re.IGNORECASE)
    return [sentence for sentence in sentences if not pattern.search(sentence)]
