"""Who may ask what: tokens, hosts, origins, and the headers of every answer."""

from __future__ import annotations

import logging
import re

import pytest

from driftmoe.service.http import _routes, create_app

READ, WRITE = "r" * 32, "w" * 32
LABEL = {"id": 1, "label": 1}
SAMPLE = {"features": {"a": 1}}


def bearer(token):
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def guarded(worker, client_of):
    return client_of(worker, read_token=READ, write_token=WRITE)


def test_data_need_a_token_and_the_pages_do_not(guarded):
    for path in (
        "/api/stats",
        "/api/metrics",
        "/metrics",
        "/api/model/default",
        "/api/stream/metrics",
        "/nothing",
    ):
        answer = guarded.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/", "/docs", "/openapi.json", "/ping"):
        assert guarded.get(path).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [{"authorization": sent} for sent in (f"Basic {READ}", READ, "Bearer", "Bearer ", f"Bearer {READ}x",
                                          f"Bearer {READ[:-1]}", f"Bearer {READ} {READ}", "Bearer \xff\xfe")],
    ids=str,
)  # fmt: skip
def test_other_tokens_are_refused(guarded, sent):
    headers = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
    assert guarded.get("/api/stats", headers=headers).status_code == 401


def test_a_token_given_twice_is_refused(guarded):
    headers = [("authorization", f"Bearer {READ}"), ("authorization", f"Bearer {WRITE}")]
    assert guarded.get("/api/stats", headers=headers).status_code == 401


def test_the_read_token_reads_and_the_write_token_does_both(guarded, worker):
    binary = {"content-type": "application/octet-stream"}
    for token, status in ((READ, 403), (WRITE, 200)):
        assert guarded.get("/api/stats", headers=bearer(token)).status_code == 200
        assert guarded.post("/api/predict", json=SAMPLE, headers=bearer(token)).status_code == 200
        n_taken = len(worker.taken)
        for path, body in (
            ("/api/learn", LABEL),
            ("/api/events", LABEL),
            ("/api/predict", SAMPLE | {"id": 1}),
        ):
            assert guarded.post(path, json=body, headers=bearer(token)).status_code == status
        answer = guarded.put("/api/model/default", content=b"model", headers=bearer(token) | binary)
        assert answer.status_code == status
        assert (len(worker.taken) > n_taken) == (status == 200)


def test_with_a_write_token_alone_everyone_reads(worker, client_of):
    client = client_of(worker, write_token=WRITE)
    assert client.get("/api/stats").status_code == 200
    assert client.post("/api/predict", json=SAMPLE).status_code == 200
    assert client.post("/api/predict", json=SAMPLE | {"id": 1}).status_code == 403
    assert client.post("/api/learn", json=LABEL).status_code == 401
    assert client.post("/api/learn", json=LABEL, headers=bearer(WRITE)).status_code == 200


def test_with_a_read_token_alone_nobody_writes(worker, client_of):
    client = client_of(worker, read_token=READ)
    assert client.post("/api/learn", json=LABEL).status_code == 401
    assert client.post("/api/learn", json=LABEL, headers=bearer(READ)).status_code == 403


@pytest.mark.parametrize(
    "tokens",
    [{"read_token": ""}, {"write_token": "a b"}, {"write_token": "ä"}, {"read_token": READ, "write_token": READ}],
    ids=str,
)  # fmt: skip
def test_bad_tokens_are_refused_at_once(worker, tokens):
    with pytest.raises(ValueError, match="_token"):
        create_app(worker, **tokens)


def test_a_foreign_name_of_the_host_is_refused(client):
    for host in ("evil.example", "127.0.0.1.evil.example", "", "127.0.0.1:80:80", "localhost@evil.example"):
        answer = client.get("/", headers={"host": host})
        assert answer.status_code == 421, host
        assert "is not this server" in answer.json()["error"]["message"]
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"):
        assert client.get("/", headers={"host": host}).status_code == 200


def test_a_page_of_another_site_is_refused(client, worker):
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1234", "http://localhost"):
        assert client.post("/api/learn", json=LABEL, headers={"origin": origin}).status_code == 403
    assert worker.taken == []
    assert client.post("/api/learn", json=LABEL, headers={"origin": "http://127.0.0.1"}).status_code == 200


def test_a_form_of_another_site_cannot_send_an_event(client, worker):
    # These media types need no leave of the server: a form, or fetch in the mode no-cors, sends them to any site.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        headers = {"content-type": kind}
        answer = client.post("/api/learn", content=b'{"id":1,"label":1}', headers=headers)
        assert answer.status_code == 415
    assert worker.taken == []


def test_every_answer_carries_the_headers_and_none_allows_other_sites(client):
    paths = [route.path.replace("{name}", "default") for route in _routes() if "stream" not in route.path]
    for path in [*paths, "/nothing", "/api/metrics?key=x"]:
        for answer in (client.get(path), client.post(path, content=b"x")):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_may_run_its_own_script_and_nothing_else(client, path):
    answer = client.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "http" not in policy
    assert not re.search(r"<[^>]*\son\w+\s*=|<[^>]*\sstyle\s*=|<script\s|javascript:", answer.text)
    fetched = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", answer.text.split("<script>")[0])
    assert all(address.startswith(("/", "#", "data:")) for address in fetched)


def test_the_page_is_read_as_text_alone(client):
    script = client.get("/").text.split("<script>")[1]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", script)


def test_the_log_holds_no_features(client, caplog):
    with caplog.at_level(logging.DEBUG, logger="driftmoe"):
        client.post("/api/predict", json={"features": {"secret": "value-of-it"}})
        client.post("/api/predict", json={"features": {"secret": ["value-of-it"]}})
        client.get("/api/metrics?key=value-of-it")
        client.get("/a%0Ab")
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("driftmoe")]
    assert len(ours) == 4
    assert ours[0].startswith("POST '/api/predict': 200 after")
    assert not [line for line in ours if "secret" in line or "value-of-it" in line or "\n" in line]
