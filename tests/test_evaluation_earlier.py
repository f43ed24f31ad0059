import pytest
from evaluation_data import melody, with_faults, write_midi

from amtcli.evaluation.compare import compare_results
from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.earlier import is_document, is_list_of_mistakes, is_table
from amtcli.evaluation.mistakes import mistakes_csv
from amtcli.evaluation.pairing import Pairing
from amtcli.evaluation.results import make_document, to_json, to_table
from amtcli.evaluation.run import Task, Wanted, score_all


@pytest.fixture
def document(tmp_path):
    write_midi(tmp_path / "ref.mid", melody(seed=0))
    write_midi(tmp_path / "est.mid", with_faults(melody(seed=0), 0))
    tasks = [Task("p", tmp_path / "ref.mid", tmp_path / "est.mid")]
    results = score_all(tasks, Conventions(), Wanted(False, None), 1)
    return make_document(results, Conventions(), {}, Pairing((), ()))


def test_each_result_is_known_and_nothing_else(tmp_path, document):
    contents = {
        "result": to_json(document),
        "comparison": to_json(compare_results(document, document).as_document()),
        "table": to_table(document, ","),
        "mistakes": mistakes_csv([]),
        "tabs": to_table(document, "\t"),
        "object": '{"settings": {}, "per_file": []}',
        "list": "[]",
        "text": "name,reference",
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "bytes").write_bytes(b"MThd\xff\x00")

    def known_to(is_earlier):
        return [name for name in (*contents, "bytes", "none") if is_earlier(tmp_path / name)]

    assert known_to(is_document) == ["result", "comparison"]
    assert known_to(is_table) == ["table"]
    assert known_to(is_list_of_mistakes) == ["mistakes"]
