"""What holds for each broker whose server can be stopped, killed and started."""

from __future__ import annotations

import os

import pytest
from reading import TEXTS, Reading, come_to, killed_and_started_again, reading

from driftmoe.service.sources import open_source


class BrokerTests:
    """Tests of a broker, which takes the fixture `server`, and comes to what is `expected`."""

    def test_a_worker_that_reads_a_stream_comes_to_what_one_comes_to_that_is_handed_its_events(
        self, tmp_path, server, expected
    ):
        server.add(TEXTS)
        with Reading(tmp_path / "store", open_source(server.url, follows=False)) as run:
            run.to_the_end()
        assert come_to(tmp_path / "store") == expected

    def test_what_is_added_is_read_as_it_comes_and_after_each_start(self, tmp_path, server, expected):
        for start in range(0, len(TEXTS), 45):
            with reading(tmp_path / "store", server.url) as run:
                for text in TEXTS[start : start + 45]:
                    server.add([text])
                run.until(min(start + 45, len(TEXTS)))
        assert come_to(tmp_path / "store") == expected

    @pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
    def test_a_worker_reads_on_when_the_server_has_been_away(self, tmp_path, server, expected, is_killed):
        with reading(tmp_path / "store", server.url) as run:
            for start in range(0, len(TEXTS), 60):
                server.add(TEXTS[start : start + 60])
                run.until(start + 20)
                server.kill() if is_killed else server.stop()
                server.start()
            run.until(len(TEXTS))
        assert come_to(tmp_path / "store") == expected

    def test_a_worker_waits_for_a_server_that_is_not_there_yet(self, tmp_path, server, expected):
        server.add(TEXTS)
        server.stop()
        with reading(tmp_path / "store", server.url) as run:
            server.start()
            run.until(len(TEXTS))
        assert come_to(tmp_path / "store") == expected

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no signal that kills")
    def test_a_process_that_is_killed_loses_and_repeats_nothing(self, tmp_path, server, expected):
        server.add(TEXTS)
        killed_and_started_again(tmp_path / "store", server.url, len(TEXTS))
        assert come_to(tmp_path / "store") == expected
