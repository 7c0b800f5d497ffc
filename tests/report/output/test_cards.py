from robust_transfer.report.index.collect import collect
from robust_transfer.report.output.cards import card_metadata
from robust_transfer.store.directories import StageDirectory


def metadata(root, **lineage):
    stage = StageDirectory(root / "finetune" / "cr-pets-simclr-resnet50-0123456789ab")
    stage.path.mkdir(parents=True)
    stage.update(state="done", key="0123456789ab", lineage=lineage)
    return card_metadata(stage, collect(root))


def test_a_card_names_the_terms_of_all_data_that_the_weights_have_seen(tmp_path):
    card = metadata(tmp_path, pretrain="simclr", source="imagenet", finetune="cr", dataset="pets")
    assert "ImageNet" in card["licence"] and "Pets: CC BY-SA 4.0" in card["licence"]


def test_a_users_own_folder_has_no_terms_here(tmp_path):
    assert "licence" not in metadata(tmp_path, pretrain="none", finetune="cr", dataset="imagefolder")
