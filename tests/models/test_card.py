from robust_transfer.models import model_card

FACTS = {
    "arch": "resnet18_small",
    "width": 8,
    "num_classes": 2,
    "class_names": ["cat", "dog"],
    "image_size": 32,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "train_sigma": 0.5,
    "key": "0123456789ab",
    "file": "pets.safetensors",
    "plain": False,
}


def test_every_fact_handed_in_is_on_the_card():
    row = {
        "evaluator": "certify",
        "metric": "ra",
        "value": 0.46875,
        "interval": [0.4, 0.5321],
        "num_images": 500,
        "settings": "sigma 0.5, n 10000",
        "key": "fedcba987654",
    }
    texts = {"data": "D1", "licence": "L1", "recipe": "R1", "threat_model": "T1", "commit": "C1"}
    card = model_card({**FACTS, **texts, "results": [row]})
    headings = [
        "Input and output",
        "Loading",
        "Data",
        "Licence",
        "Recipe",
        "Threat model",
        "Results",
        "Origin",
    ]
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == headings
    assert "| certify | ra | 0.4688 | 0.4 to 0.5321 | 500 | sigma 0.5, n 10000 | fedcba987654 |" in card
    for text in [*texts.values(), "0123456789ab", "cat, dog", "sigma 0.5 in [0, 1] units", "width 8"]:
        assert text in card


def test_what_is_not_known_is_not_made_up():
    card = model_card({**FACTS, "train_sigma": None, "key": ""})
    assert "Gaussian noise in training: not known" in card
    for absent in ("## Data", "## Licence", "## Results", "## Origin", "None"):
        assert absent not in card
