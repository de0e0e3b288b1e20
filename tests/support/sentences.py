"""Texts of every kind: prose, single words, figures, lists, refrains, names, long chunks."""

from __future__ import annotations

SENTENCES = (
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background.",
    "It's easy to tell the depth of a well.",
    "These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls.",
    "The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck.",
    "The hogs were fed chopped corn and garbage.",
    "Four hours of steady work faced us.",
    "A large size in stockings is hard to sell.",
    "The boy was there when the sun rose.",
    "A rod is used to catch pink salmon.",
    "The source of the huge river is the clear spring.",
    "Kick the ball straight and follow through.",
    "Help the woman get back to her feet.",
    "A pot of tea helps to pass the evening.",
    "Smoky fires lack flame and heat.",
    "The soft cushion broke the man's fall.",
    "The salt breeze came across from the sea.",
    "The girl at the booth sold fifty bonds.",
    # Short ones.
    "Yes.",
    "No!",
    "Hello there.",
    "Stop.",
    "Thank you.",
    "Wait, what?",
    "Good morning, everyone.",
    "Chapter Two",
    "One, two, three.",
    "OK.",
    # Texts with repetitions.
    "No, no, no, no, no.",
    "Row, row, row your boat, gently down the stream.",
    "Ha ha ha ha ha, very funny.",
    "Again and again and again he knocked, again and again and again nobody came.",
    "The cat sat on the mat. The cat sat on the mat. The cat sat on the mat.",
    "Buffalo buffalo Buffalo buffalo buffalo buffalo Buffalo buffalo.",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
    "Left, right, left, right, left, right, left.",
    "Ten green bottles hanging on the wall, ten green bottles hanging on the wall.",
    "She sells sea shells on the sea shore; the shells she sells are sea shells, I'm sure.",
    # Figures, signs, names.
    "In 1999, 25% of 1,234,567 people paid $20.",
    "Call 555-0134 between 9:30 and 17:45.",
    "Room 404 is on the 4th floor of building B12.",
    "The total came to $1,234.56, plus 7.5% tax.",
    "At 5:30pm on 11/22/2026 it was -5°C outside.",
    "NASA, the FBI and the BBC use TCP/IP.",
    "Dr. Smith met Mrs. Jones at 10 Main St. in St. Louis.",
    "Write to info@example.com or see www.example.com/help.",
    "Wolfgang Amadeus Mozart was born in Salzburg in 1756.",
    "Supercalifragilisticexpialidocious!",
    # Pauses, questions, quotations.
    "Well... I don't know... maybe... we should go.",
    "Really? Are you sure? Absolutely sure?",
    'He said: "Never!" and slammed the door.',
    "Apples, pears, plums, cherries, figs, dates, grapes, melons, and one very small, very sour lemon.",
    "To be, or not to be: that is the question.",
    "Mississippi, Missouri, Minnesota - and Maine.",
    "She hesitated (as she always did), then laughed.",
    "First paragraph line\nsecond line of the same paragraph.",
    # Long chunks.
    "The sun had not yet risen. The sea was indistinguishable from the sky, except that the sea was slightly creased "
    "as if a cloth had wrinkles in it. Gradually as the sky whitened a dark line lay on the horizon dividing the sea "
    "from the sky.",
    "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse, and "
    "nothing particular to interest me on shore, I thought I would sail about a little and see the watery part "
    "of the world.",
    "When in the course of human events it becomes necessary for one people to dissolve the political bands which have "
    "connected them with another, a decent respect to the opinions of mankind requires that they should declare the "
    "causes.",
    "It was a bright cold day in April, and the clocks were striking thirteen. He slipped quickly through the glass "
    "doors, though not quickly enough to prevent a swirl of gritty dust from entering along with him.",
    "Whenever you feel like criticizing anyone, he told me, just remember that all the people in this world haven't "
    "had the advantages that you've had. He didn't say any more.",
    "Press one for sales, press two for support, press three for billing, press four for anything else, or stay on the "
    "line and somebody will be with you shortly.",
)
