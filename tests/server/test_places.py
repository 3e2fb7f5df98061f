"""Who gets the last places, and whose connection is ended for another one."""

import pytest

from rtc.server.connection_pool import DISPLACED_MAX, ConnectionPool
from rtc.server.places import PEAK_TIME, SPARE_PARTS, PlaceHolder, Places

ADA, BOB = PlaceHolder(None, "ada"), PlaceHolder(None, "bob")
SIZE = 1000


def take_all(places: Places, holder: PlaceHolder, now: float = 0, *, returns: bool = False, size: int = SIZE) -> int:
    """Take as many places as the holder gets; return how many."""
    taken = 0
    while places.take(holder, size, now, returns=returns):
        taken += 1
    return taken


def test_one_address_gets_places_until_they_are_scarce_and_others_the_rest() -> None:
    places = Places(90, 10)
    assert take_all(places, ADA) == 900
    assert [take_all(places, PlaceHolder(None, str(n)), size=SIZE) for n in range(3)] == [100, 0, 0]


def test_an_address_with_few_places_gets_one_more_than_its_part_and_then_no_other() -> None:
    places = Places(50, 10)
    assert take_all(places, ADA) == 500
    assert take_all(places, BOB) == 101
    assert take_all(places, PlaceHolder(None, "eve")) == 101


def test_who_was_there_gets_back_what_the_address_had_and_a_few_more() -> None:
    places = Places(90, 10)
    take_all(places, ADA)
    for _ in range(300):
        places.leave(ADA, 0)
    for n in range(400):
        assert places.take(PlaceHolder(None, str(n)), SIZE, 0, returns=False)
    assert not places.take(ADA, SIZE, 0, returns=True), "nothing is free"
    places.leave(PlaceHolder(None, "0"), 0)
    assert not places.take(ADA, SIZE, 0, returns=False)
    assert places.take(ADA, SIZE, 0, returns=True)


def test_collected_proofs_take_no_more_than_a_few_places_however_often_they_are_used() -> None:
    places = Places(90, 10)
    taken = take_all(places, ADA)
    for now in range(100):
        taken += take_all(places, ADA, now * PEAK_TIME / 10, returns=True)
        places.leave(ADA, now * PEAK_TIME / 10)
        taken -= 1
    assert taken <= 900 + SIZE // SPARE_PARTS
    assert take_all(places, BOB, 11 * PEAK_TIME) >= 1000 - 900 - SIZE // SPARE_PARTS


def test_what_an_address_had_long_ago_counts_no_more() -> None:
    places = Places(90, 10)
    take_all(places, ADA)
    for _ in range(500):
        places.leave(ADA, 0)
    for n in range(5):
        for _ in range(100):
            places.take(PlaceHolder(None, str(n)), SIZE, 0, returns=False)
    assert take_all(places, ADA, 2 * PEAK_TIME, returns=True) == SIZE // SPARE_PARTS


def test_the_rooms_do_not_count_for_each_other() -> None:
    places = Places(90, 10)
    assert take_all(places, PlaceHolder("one", "ada"), size=64) == 58
    assert take_all(places, PlaceHolder("two", "ada"), size=64) == 58
    assert take_all(places, PlaceHolder("one", "bob"), size=64) == 6


@pytest.mark.parametrize(("crowded", "share", "expected"), [(50, 10, 5), (90, 100, 10), (100, 10, 10)])
def test_both_percentages_count(crowded: int, share: int, expected: int) -> None:
    assert take_all(Places(crowded, share), ADA, size=10) == expected


class Connection:
    """A connection that only notes that it was displaced."""

    def __init__(self, *, is_idle: bool = True) -> None:
        self.is_idle = is_idle
        self.is_displaced = False

    def displace(self) -> None:
        self.is_displaced = True


def test_an_address_gets_its_part_of_a_pool() -> None:
    pool = ConnectionPool(100, 3)
    assert [pool.admit(Connection(), "ada") for _ in range(4)] == [True] * 3 + [False]
    assert pool.admit(Connection(), "bob")


def test_in_a_full_pool_the_oldest_idle_connection_of_the_address_with_most_makes_room() -> None:
    pool = ConnectionPool(6, 4)
    adas = [Connection(is_idle=n > 0) for n in range(4)]
    bobs = [Connection() for _ in range(2)]
    for connection in adas:
        assert pool.admit(connection, "ada")
    for connection in bobs:
        assert pool.admit(connection, "bob")
    assert pool.admit(Connection(), "eve")
    assert [one.is_displaced for one in adas + bobs] == [False, True, False, False, False, False]
    assert not pool.admit(Connection(), "ada")


def test_nobody_makes_room_for_an_address_that_has_as_many() -> None:
    pool = ConnectionPool(2, 2)
    assert pool.admit(Connection(), "ada")
    assert pool.admit(Connection(), "bob")
    assert not pool.admit(Connection(), "ada")
    assert pool.admit(Connection(), "eve")
    busy = ConnectionPool(1, 1)
    assert busy.admit(Connection(is_idle=False), "ada")
    assert not busy.admit(Connection(), "eve")


def test_only_so_many_connections_are_being_displaced_at_a_time() -> None:
    pool = ConnectionPool(2 * DISPLACED_MAX, DISPLACED_MAX)
    held = [Connection() for _ in range(2 * DISPLACED_MAX)]
    for number, connection in enumerate(held):
        assert pool.admit(connection, f"10.0.0.{number}")
    assert [pool.admit(Connection(), f"10.1.0.{n}") for n in range(DISPLACED_MAX + 1)] == [True] * DISPLACED_MAX + [
        False
    ]
    for connection in held:
        if connection.is_displaced:
            pool.remove(connection)
    assert pool.admit(Connection(), "eve")


def test_those_that_a_proxy_brings_count_once_they_are_known() -> None:
    pool = ConnectionPool(10, 2)
    brought = [Connection() for _ in range(4)]
    assert all(pool.admit(connection, None) for connection in brought)
    assert [pool.assign(connection, "ada") for connection in brought] == [True, True, False, False]
