import pytest

from robust_transfer.core.errors import EvaluationError
from robust_transfer.report.index.records import read_columns

HEADER = "index,label,correct,stopped\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEADER,
        HEADER + "0,1,1,full\n1,1\n",
        HEADER + "0,1,1,full,5\n",
        HEADER + "0,1,1,full\n1,1,1,full,5\n",
        HEADER + "0,1,x,full\n",
        HEADER + "0,1,,full\n",
        "index,label,stopped\n0,1,full\n",
    ],
)
def test_what_is_not_whole_is_an_error_that_names_the_file(tmp_path, text):
    path = tmp_path / "clean-digits-0123456789ab" / "records.csv"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(EvaluationError, match=r"records\.csv") as error:
        read_columns(path, ("index", "correct"))
    assert error.value.hints == ("rt-report verify 0123456789ab",)


def test_numbers_come_back_as_they_were_written(tmp_path):
    values = [0.1 + 0.2, 1e-308, 2 / 3, 123456789.123456789]
    path = tmp_path / "records.csv"
    path.write_text(HEADER + "".join(f"{i},1,{value!r},full\n" for i, value in enumerate(values)))
    assert read_columns(path, ("correct",))["correct"].tolist() == values
