from robust_transfer.evaluation.warnings import Warnings, all_warnings


def test_what_an_interrupted_shard_found_is_kept_and_shards_are_joined(tmp_path):
    Warnings(tmp_path, 0).note(["zero_gradient: 1 of 9"], [4])
    Warnings(tmp_path, 0).note(["zero_gradient: 1 of 9", "huge_eps: 2 of 9"])  # started again
    Warnings(tmp_path, 1).note(unreadable=[2, 4])
    assert all_warnings(tmp_path) == (["zero_gradient: 1 of 9", "huge_eps: 2 of 9"], [2, 4])


def test_nothing_to_note_writes_nothing(tmp_path):
    Warnings(tmp_path, 0).note()
    assert list(tmp_path.iterdir()) == []
    assert all_warnings(tmp_path) == ([], [])
