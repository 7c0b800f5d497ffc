from robust_transfer.evaluation.doubts import Doubts, all_doubts


def test_what_an_interrupted_shard_found_is_kept_and_shards_are_joined(tmp_path):
    Doubts(tmp_path, 0).note(["zero_gradient: 1 of 9"], [4])
    Doubts(tmp_path, 0).note(["zero_gradient: 1 of 9", "huge_eps: 2 of 9"])  # started again
    Doubts(tmp_path, 1).note(unreadable=[2, 4])
    assert all_doubts(tmp_path) == (["zero_gradient: 1 of 9", "huge_eps: 2 of 9"], [2, 4])


def test_nothing_to_note_writes_nothing(tmp_path):
    Doubts(tmp_path, 0).note()
    assert list(tmp_path.iterdir()) == []
    assert all_doubts(tmp_path) == ([], [])
