"""The lines of docs/endpoint.md answer over HTTP, on loopback, what the blend says."""

import io
import json
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from werkzeug.serving import make_server

import ensemble_ad as ea

PAGE = Path(__file__).parent.parent / "docs" / "endpoint.md"


@pytest.fixture(scope="module")
def address(tmp_path_factory, studies_folder):
    """Where the page's app answers, with the studies of the tests."""
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    folder = tmp_path_factory.mktemp("endpoint")
    (folder / "studies").symlink_to(studies_folder)
    names: dict[str, object] = {"__name__": "endpoint"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, str(PAGE), "exec"), names)
    server = make_server("127.0.0.1", 0, names["app"], threaded=True)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}/score"
    server.shutdown()
    thread.join()


def _answer(address: str, body: bytes) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data=body), timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or "{}") if "json" in error.headers["Content-Type"] else {}


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def test_a_picture_gets_the_blends_score(address, studies_folder, images):
    scorer = ea.load_blend(studies=studies_folder, device="cpu")
    wanted, threshold = scorer.score(images[:8]), scorer.threshold(scorer.usual_rate)
    for image, score in zip(images[:8, :, :, 0], wanted, strict=True):
        status, answer = _answer(address, _png(image))
        assert status == 200
        assert answer == {"score": score, "alarm": bool(score > threshold), "unlike": None}


def test_many_at_once_get_the_same_scores(address, studies_folder, images):
    wanted = ea.load_blend(studies=studies_folder, device="cpu").score(images[:8])
    found: dict[int, object] = {}

    def ask(row: int) -> None:
        found[row] = _answer(address, _png(images[row, :, :, 0]))[1]["score"]

    threads = [threading.Thread(target=ask, args=(row,)) for row in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[row] for row in range(8)] == wanted.tolist()


def test_what_is_no_such_picture_is_refused(address, images):
    assert _answer(address, b"no picture")[0] == 400
    status, answer = _answer(address, _png(images[0, :16, :, 0]))
    assert status == 400
    assert "32" in str(answer["error"])
    assert _answer(address, _png(images[0, :, :, 0])[:60])[0] == 400
    assert _answer(address, _png(np.zeros((2048, 2049), dtype=np.uint8)))[0] == 413
    assert _answer(address, bytes(5 << 20))[0] == 413
