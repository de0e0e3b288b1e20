from __future__ import annotations

from gateway.cache.hot import HotTier


def test_the_tier_never_holds_more_bytes_than_it_may_and_the_oldest_goes_first() -> None:
    tier: HotTier[str] = HotTier(100)
    for name in "abcde":
        tier.put(name, name, 25)
        tier.get("a")
    assert tier.size_bytes <= 100
    assert tier.get("a") == "a"
    assert tier.get("b") is None
    assert tier.get("e") == "e"


def test_an_entry_that_would_push_out_everything_is_not_kept() -> None:
    tier: HotTier[str] = HotTier(100)
    tier.put("small", "s", 10)
    tier.put("huge", "h", 90)
    assert tier.get("huge") is None
    assert tier.get("small") == "s"


def test_replacing_an_entry_counts_its_bytes_once() -> None:
    tier: HotTier[str] = HotTier(100)
    tier.put("a", "1", 20)
    tier.put("a", "2", 10)
    assert tier.size_bytes == 10
    tier.drop("a")
    assert tier.size_bytes == 0
