"""Questions that need no tool: what people ask and say besides."""

from __future__ import annotations

import itertools
import random

from scripts.starter.pools import PLAIN_TOPICS, Side

_STEMS = [
    "What is {}?",
    "What do you know about {}?",
    "Tell me something about {}.",
    "Explain {} in one sentence.",
    "Explain {} to a child.",
    "Give me one fact about {}.",
    "Write two sentences about {}.",
    "Why do people care about {}?",
    "tell me about {}",
    "Write a short poem about {}.",
    "Give me a title for a story about {}.",
    "What would you say about {} in a speech?",
    "explain {} pls",
    "whats special about {}?",
    "Name three things that have to do with {}.",
    "Ask me a quiz question about {}.",
]
_TRAIN = [
    "Hi",
    "Hello!",
    "Good morning",
    "hey there",
    "Thanks!",
    "thank you very much",
    "Who are you?",
    "What can you do?",
    "How are you?",
    "Are you a human?",
    "Good night",
    "ok, great",
    "bye",
    "I feel tired today.",
    "Tell me a joke.",
    "What is 7 times 8?",
    "What is the capital of France?",
    "How many days are in a week?",
    "What is the opposite of hot?",
    "Which is larger, 12 or 21?",
    "Name a fruit.",
    "What colour is the sky?",
    "Translate 'good day' to Spanish.",
    "What is the plural of mouse?",
    "Finish this: roses are red,",
    "Give me three names for a dog.",
    "How do I boil an egg?",
    "Is it ok to drink coffee at night?",
    "What should I cook tonight?",
    "How do I say sorry?",
    "Rewrite this politely: give me the report now.",
    "Make this shorter: I would like to ask you whether you could perhaps come.",
    "Write a thank-you note to a colleague.",
    "Write a subject line for an invitation.",
    "Suggest a gift for my mother.",
    "How do I learn a language?",
    "What does CSV mean?",
    "What is Python?",
    "How does a search engine work?",
    "What is a function in maths?",
    "Explain what a file is.",
    "What is an API?",
    "lol",
    "no",
    "never mind",
    "that was wrong",
    "I don't understand you",
    "you are slow",
    "cool",
]
_HELD_OUT = [
    "Hiya",
    "Good evening",
    "many thanks",
    "What's your name?",
    "see you later",
    "I am bored.",
    "Tell me a riddle.",
    "What is 9 plus 14?",
    "What is the capital of Italy?",
    "How many months are in a year?",
    "What is the opposite of loud?",
    "Name a vegetable.",
    "How do I make tea?",
    "Suggest a name for a boat.",
    "What is a spreadsheet?",
    "What is JSON?",
    "How do I tie a knot?",
    "Write a birthday wish for my aunt.",
    "Make this friendlier: no.",
    "What does it mean to be kind?",
]


def plain_questions(side: Side) -> list[str]:
    """Every question of this side, in an order of its own."""
    made = [stem.format(topic) for stem, topic in itertools.product(_STEMS, PLAIN_TOPICS.of(side))]
    random.Random(f"plain {side}").shuffle(made)
    return [*(_TRAIN if side == "train" else _HELD_OUT), *made]
