"""The units of measure and of money that English rules know, and the words of a unit."""

from __future__ import annotations

from gateway.speech.text.spell.english.said import plural

MEASURES = {
    "km": "kilometer", "m": "meter", "dm": "decimeter", "cm": "centimeter", "mm": "millimeter", "µm": "micrometer",
    "μm": "micrometer", "nm": "nanometer", "kg": "kilogram", "g": "gram", "mg": "milligram", "µg": "microgram",
    "μg": "microgram", "lbs": "pound", "lb": "pound", "oz": "ounce", "ft": "foot", "in": "inch", "yd": "yard",
    "yds": "yard", "mi": "mile", "ml": "milliliter", "mL": "milliliter", "cl": "centiliter", "dl": "deciliter",
    "L": "liter", "l": "liter", "gal": "gallon", "qt": "quart", "pt": "pint", "tbsp": "tablespoon", "tsp": "teaspoon",
    "ha": "hectare", "ac": "acre", "sq ft": "square foot", "sq. ft": "square foot", "sq m": "square meter",
    "sq km": "square kilometer", "sq mi": "square mile", "cu ft": "cubic foot", "fl oz": "fluid ounce",
    "fl. oz": "fluid ounce", "GB": "gigabyte", "MB": "megabyte", "KB": "kilobyte", "kB": "kilobyte", "TB": "terabyte",
    "PB": "petabyte", "GiB": "gibibyte", "MiB": "mebibyte", "KiB": "kibibyte", "Gb": "gigabit", "Mb": "megabit",
    "kb": "kilobit", "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "THz": "terahertz",
    "Wh": "watt hour", "kWh": "kilowatt hour", "MWh": "megawatt hour", "GWh": "gigawatt hour", "W": "watt",
    "kW": "kilowatt", "MW": "megawatt", "GW": "gigawatt", "V": "volt", "kV": "kilovolt", "mV": "millivolt", "A": "amp",
    "mA": "milliamp", "mAh": "milliamp hour", "Ah": "amp hour", "Ω": "ohm", "kΩ": "kilohm", "N": "newton", "J": "joule",
    "kJ": "kilojoule", "kcal": "kilocalorie", "cal": "calorie", "Pa": "pascal", "hPa": "hectopascal",
    "kPa": "kilopascal", "MPa": "megapascal", "dB": "decibel", "lm": "lumen", "mol": "mole", "hp": "horsepower",
    "h": "hour", "hrs": "hour", "hr": "hour", "min": "minute", "mins": "minute", "s": "second", "sec": "second",
    "secs": "second", "ms": "millisecond", "µs": "microsecond", "μs": "microsecond", "ns": "nanosecond", "wk": "week",
    "wks": "week", "yr": "year", "yrs": "year", "mo": "month", "mos": "month", "px": "pixel", "MP": "megapixel",
    "°C": "degree Celsius", "°F": "degree Fahrenheit", "° C": "degree Celsius", "° F": "degree Fahrenheit",
    "℃": "degree Celsius", "℉": "degree Fahrenheit", "°": "degree", "K": "kelvin",
    "mph": "mile per hour", "kph": "kilometer per hour", "kmh": "kilometer per hour", "mpg": "mile per gallon",
    "rpm": "revolution per minute", "bpm": "beat per minute", "fps": "frame per second", "dpi": "dot per inch",
    "psi": "pound per square inch", "kbps": "kilobit per second", "Mbps": "megabit per second",
    "Gbps": "gigabit per second", "ppm": "part per million", "%": "percent", "‰": "per mille", "pc": "percent",
    "pct": "percent",
}  # fmt: skip
NEEDS_DOT = frozenset(("in", "pt", "mi", "mo", "ac", "cal", "gal", "sec", "min", "yr", "wk", "hr", "pc", "pct"))
"""Units whose dot belongs to them; those that are words otherwise are read only with a dot, or before a comma."""
ONLY_WITH_DOT = frozenset(("in", "mo", "ac"))
ONLY_SPACED = frozenset(("A", "N", "J", "K", "s"))
"""Units that are letters of a name where no space is before them: `4K`, `5A`; `5s` is a plural."""
_INVARIABLE = frozenset(
    ("hertz", "kilohertz", "megahertz", "gigahertz", "terahertz", "percent", "per mille", "horsepower")
)
_TEMPERATURES = ("degree Celsius", "degree Fahrenheit")

PER = {"h": "hour", "hr": "hour", "hour": "hour", "s": "second", "sec": "second", "second": "second", "min": "minute",
       "minute": "minute", "day": "day", "d": "day", "night": "night", "week": "week", "wk": "week", "month": "month",
       "mo": "month", "year": "year", "yr": "year", "person": "person", "unit": "unit", "kg": "kilogram", "g": "gram",
       "lb": "pound", "oz": "ounce", "l": "liter", "L": "liter", "dl": "deciliter", "dL": "deciliter",
       "ml": "milliliter",
       "mL": "milliliter", "m": "meter", "km": "kilometer", "cm": "centimeter", "m²": "square meter",
       "m³": "cubic meter", "cm²": "square centimeter", "cm³": "cubic centimeter", "ft²": "square foot",
       "s²": "second squared", "sqm": "square meter", "gal": "gallon", "mi": "mile", "kWh": "kilowatt hour",
       "MWh": "megawatt hour", "GB": "gigabyte", "head": "head", "share": "share", "barrel": "barrel", "hour.": "hour",
       "mol": "mole", "user": "user", "page": "page", "word": "word", "ft": "foot"}  # fmt: skip
"""Units after a slash: `5 m/s`, `$3/kg`."""

CURRENCIES = {
    "$": ("dollar", "cent"), "US$": ("US dollar", "cent"), "€": ("euro", "cent"), "£": ("pound", "penny"),
    "¥": ("yen", ""), "₹": ("rupee", "paisa"), "₩": ("won", ""), "₽": ("ruble", "kopeck"), "₺": ("lira", "kurus"),
    "₪": ("shekel", "agora"), "₫": ("dong", ""), "₴": ("hryvnia", "kopiyka"), "₦": ("naira", "kobo"),
    "₱": ("peso", "centavo"), "฿": ("baht", "satang"), "₿": ("bitcoin", ""), "₡": ("colon", "centimo"),
    "₲": ("guarani", ""), "₵": ("cedi", "pesewa"), "₸": ("tenge", ""), "₼": ("manat", "qepik"), "₾": ("lari", "tetri"),
    "₭": ("kip", ""), "₮": ("tugrik", ""), "¢": ("cent", ""), "Rs": ("rupee", "paisa"), "Rs.": ("rupee", "paisa"),
    "A$": ("Australian dollar", "cent"), "AU$": ("Australian dollar", "cent"), "C$": ("Canadian dollar", "cent"),
    "CA$": ("Canadian dollar", "cent"), "NZ$": ("New Zealand dollar", "cent"), "HK$": ("Hong Kong dollar", "cent"),
    "S$": ("Singapore dollar", "cent"), "NT$": ("Taiwan dollar", "cent"), "MX$": ("Mexican peso", "centavo"),
    "R$": ("real", "centavo"), "J$": ("Jamaican dollar", "cent"), "Z$": ("Zimbabwean dollar", "cent"),
    "E£": ("Egyptian pound", "piastre"), "CN¥": ("yuan", "fen"), "JP¥": ("yen", ""),
    "USD": ("US dollar", "cent"), "EUR": ("euro", "cent"), "GBP": ("pound", "penny"), "CHF": ("Swiss franc", "centime"),
    "JPY": ("yen", ""), "CAD": ("Canadian dollar", "cent"), "AUD": ("Australian dollar", "cent"),
    "NZD": ("New Zealand dollar", "cent"), "CNY": ("yuan", "fen"), "INR": ("rupee", "paisa"),
    "SEK": ("Swedish krona", "ore"), "NOK": ("Norwegian krone", "ore"), "DKK": ("Danish krone", "ore"),
    "PLN": ("zloty", "grosz"), "CZK": ("Czech koruna", "haler"), "HUF": ("forint", ""), "BRL": ("real", "centavo"),
    "MXN": ("Mexican peso", "centavo"), "ZAR": ("rand", "cent"), "KRW": ("won", ""), "RUB": ("ruble", "kopeck"),
    "TRY": ("Turkish lira", "kurus"), "ILS": ("shekel", "agora"), "SGD": ("Singapore dollar", "cent"),
    "HKD": ("Hong Kong dollar", "cent"), "THB": ("baht", "satang"), "AED": ("dirham", "fils"), "SAR": ("riyal",
    "halala"),
    "BTC": ("bitcoin", ""),
}  # fmt: skip
_UNCHANGED = frozenset(
    "yen won yuan baht rand dong kip satang sen forint ore fen fils qepik tetri tenge kurus haler kobo".split()
)
_PLURALS = {
    "real": "reais", "paisa": "paise", "Swedish krona": "Swedish kronor", "Norwegian krone": "Norwegian kroner",
    "Danish krone": "Danish kroner", "agora": "agorot", "Czech koruna": "Czech korunas", "lari": "lari",
    "grosz": "groszy", "zloty": "zlotys", "penny": "pence", "Turkish lira": "Turkish lira", "lira": "lira",
}  # fmt: skip

SCALES = {
    "k": "thousand", "K": "thousand", "m": "million", "M": "million", "mn": "million", "mln": "million",
    "mil": "million", "b": "billion", "B": "billion", "bn": "billion", "Bn": "billion", "bln": "billion",
    "tn": "trillion", "trn": "trillion", "T": "trillion", "cr": "crore",
}  # fmt: skip
SCALE_WORDS = tuple("hundred thousand million billion trillion quadrillion lakh lakhs crore crores dozen".split())


def measures(unit: str, one: bool) -> str:
    """Return the words of a unit of measure, in the singular or the plural."""
    if unit in _INVARIABLE or one:
        return unit
    head, per, rest = unit.partition(" per ")
    for temperature in _TEMPERATURES:
        if unit == temperature:
            return unit.replace("degree", "degrees")
    return f"{plural(head)}{per}{rest}"


def money(unit: str, one: bool) -> str:
    """Return the words of a unit of money, in the singular or the plural."""
    if one or unit in _UNCHANGED:
        return unit
    return _PLURALS.get(unit) or plural(unit)
