from robust_transfer.core.keys import key


def test_every_part_of_the_key_matters():
    keys = [(0, "a", 1, 2), (1, "a", 1, 2), (0, "b", 1, 2), (0, "a", 2, 1), (0, "a", 12), (0, "a", 1, 2, 0)]
    assert len({key(*parts) for parts in keys}) == len(keys)


def test_keys_do_not_change_between_versions():
    # Golden: a change here makes every stage of every user irreproducible.
    assert key(0, "noise", 1, 2) == 7454679448656141705
