import json

from robust_transfer.training.profiling import NAME, PROFILED, SKIPPED, WARM_UP, profiled


def test_a_trace_of_a_few_steps_is_written_where_it_is_asked_for(tmp_path):
    with profiled(tmp_path, enabled=False) as profiler:
        profiler.step()
    assert not (tmp_path / NAME).exists()
    with profiled(tmp_path, enabled=True) as profiler:
        for _ in range(SKIPPED + WARM_UP + PROFILED + 1):
            profiler.step()
    events = json.loads((tmp_path / NAME).read_text())["traceEvents"]
    steps = [event["name"] for event in events if str(event.get("name")).startswith("ProfilerStep")]
    assert len(set(steps)) == PROFILED
