"""Where studies are kept: whatever the path or the password, and whenever a server is lost."""

import os
from contextlib import contextmanager, suppress

import optuna
import pytest
import sqlalchemy

from ensemble_ad.errors import StorageError
from ensemble_ad.search.storage import open_storage, reading, storage_failures

SECRET = "hunter2-not-to-be-seen"
SMALL = ("--family", "fcn", "--epochs", 1, "--max-width", 128, "--device", "cpu", "--size", 16)
ODD = ["a?b", "a#b", "a%20b", "a b", "50%", "{x}", "a'b\"c", "a&b=c;d", "日本 é", "a?mode=memory", "file:a"]


def names_in(folder, url=None):
    with reading(folder, url) as backend:
        return None if backend is None else optuna.get_all_study_names(backend)


@pytest.mark.parametrize("name", ODD)
def test_a_studies_folder_may_have_any_name(tmp_path, name):
    studies, other = tmp_path / name / "studies", tmp_path / "a" / "studies"
    assert names_in(studies) is None
    optuna.create_study(study_name="here", storage=open_storage(studies, None).backend)
    with open_storage(studies, None).turn():
        files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
        assert [str(path) for path in files] == [f"{name}/studies/.studies.db.lock", f"{name}/studies/studies.db"]
    open_storage(other, None)
    assert (names_in(studies), names_in(other)) == (["here"], [])


def test_a_process_that_is_killed_while_the_tables_are_made_leaves_none_by_halves(tmp_path):
    """SQLite keeps each table and each index as it is made, and Optuna makes no index of a table that is there."""

    def opened(last):
        """The statements of an opening, which ends at number `last` as by a kill."""
        seen = []

        def end(connection, cursor, statement, *more):
            seen.append(statement)
            if len(seen) == last:
                raise SystemExit

        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", end)
        try:
            with suppress(SystemExit):
                open_storage(tmp_path / str(last), None)
        finally:
            sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", end)
        return seen

    whole = [statement.lstrip() for statement in opened(0)]
    moments = [n for n, statement in enumerate(whole, 1) if " INDEX " in statement or statement.startswith("INSERT")]
    assert len(moments) >= 4
    for last in moments:
        opened(last)
        for end in ("part", "part-journal"):  # what a kill leaves besides
            (tmp_path / str(last) / f".studies.db.0123.{end}").touch()
        indices = []
        for folder in (tmp_path / "0", tmp_path / str(last)):
            inspected = sqlalchemy.inspect(open_storage(folder, None).backend.engine)
            indices.append({name: inspected.get_indexes(name) for name in inspected.get_table_names()})
        assert indices[0] == indices[1], whole[last - 1]
        assert [path.name for path in (tmp_path / str(last)).glob("*.part*")] == []


@pytest.mark.skipif(os.name != "posix", reason="POSIX takes any byte in a file's name")
def test_a_studies_folder_may_have_a_name_that_is_no_text(tmp_path):
    studies = tmp_path / os.fsdecode(b"\xff\xfe")
    optuna.create_study(study_name="here", storage=open_storage(studies, None).backend)
    assert (studies / "studies.db").is_file()
    assert names_in(studies) == ["here"]


def test_commands_work_in_a_folder_of_an_odd_name(run_ensad, data, tmp_path):
    studies = "st?u#d %20é"
    tuned = run_ensad("tune", *SMALL, "--trials", 1, "--studies", studies)
    assert tuned.exit_code == 0, tuned.output
    assert (tmp_path / studies / "studies.db").is_file()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("st")] == [studies]
    (tmp_path / studies / "studies.db").chmod(0o444)
    failed = run_ensad("compare", "--failed", "--studies", studies)
    assert (failed.exit_code, failed.stderr.splitlines()[0]) == (0, "no trial has failed")


@pytest.mark.parametrize("name", ["plain", "a b", "a#b", "日本", "file"])
def test_the_storage_option_names_a_file(tmp_path, name):
    file = tmp_path / name / "x.db"
    url = f"sqlite:///{file}"
    optuna.create_study(study_name="here", storage=open_storage(tmp_path / "studies", url).backend)
    assert file.is_file()
    assert (file.parent / ".x.db.lock").is_file()
    assert names_in(tmp_path / "studies", url) == ["here"]
    assert list((tmp_path / "studies").iterdir()) == []


def test_a_file_may_be_named_by_sqlites_own_kind_of_url(tmp_path):
    open_storage(tmp_path / "studies", f"sqlite:///file:{tmp_path}/x.db?uri=true")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.db.lock", "studies", "x.db"]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_a_study_in_memory_is_refused(tmp_path, url):
    with pytest.raises(StorageError, match="it must be sqlite:///FILE or postgresql://"):
        open_storage(tmp_path, url)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: os.mkfifo(path)], ids=["folder", "pipe"])
def test_a_database_that_is_no_file_is_refused(tmp_path, make):
    make(tmp_path / "studies.db")
    for use in (lambda: open_storage(tmp_path, None), lambda: names_in(tmp_path)):
        with pytest.raises(StorageError, match="it must be a file, and is none"):
            use()


def test_a_study_that_was_deleted_meanwhile_is_one_line(tmp_path):
    backend = open_storage(tmp_path, None).backend
    study = optuna.create_study(study_name="here", storage=backend)
    optuna.delete_study(study_name="here", storage=backend)
    with (
        pytest.raises(StorageError, match=r"a study or trial in .* was deleted meanwhile"),
        storage_failures(tmp_path, None),
    ):
        study.set_user_attr("x", 1)
    with pytest.raises(KeyError, match="of something else"), storage_failures(tmp_path, None):
        raise KeyError("of something else")


# PostgreSQL


@pytest.mark.parametrize("password", ["a/b", "a#b", "a@b", "a:b", "a%b", "a?b", "a/@#:%", "100%41"])
def test_an_error_says_how_a_password_is_written_and_not_which(run_ensad, data, password):
    password += SECRET
    url = f"postgresql://someone:{password}@127.0.0.1:1/nothing"
    for command in (("tune", *SMALL), ("pull", "--artifacts", "file:///tmp"), ("compare", "--failed")):
        result = run_ensad(*command, "--storage", url)
        assert (result.exit_code, result.stderr.count("\n")) == (4, 1), result.output
        assert "%2F %23 %40 %3A %3F %25 (percent-encoding)" in result.stderr
        assert SECRET not in result.output
        assert "someone" not in result.output


@pytest.fixture
def losing(postgres):
    """Makes a database whose connections are all ended before each statement that `when` picks."""
    url = postgres()
    name = sqlalchemy.make_url(url).database
    admin = sqlalchemy.create_engine(
        sqlalchemy.make_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool
    )

    @contextmanager
    def call(when):
        seen = []

        def end(connection, cursor, statement, *more):
            if connection.engine.url.database == name:
                seen.append(statement)
                if when(len(seen), statement):
                    with admin.connect() as other:
                        other.exec_driver_sql(
                            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
                        )

        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", end)
        try:
            yield seen
        finally:
            sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", end)

    return url, call


def test_a_connection_that_ends_while_tables_are_made_is_one_line(losing, run_ensad, data, tmp_path):
    url, lose = losing
    for word in ("CREATE TABLE studies", "CREATE TABLE trial_values", "INSERT INTO version_info", "alembic_version"):
        with lose(lambda count, statement, word=word: word in statement):
            result = run_ensad("tune", *SMALL, "--trials", 1, "--storage", url, "-q")
        assert (result.exit_code, result.stderr.count("\n")) == (4, 1), result.output
        assert "cannot reach the storage named by --storage" in result.stderr
        assert SECRET not in result.output
    assert run_ensad("tune", *SMALL, "--trials", 1, "--storage", url).exit_code == 0


@pytest.mark.slow
def test_a_connection_that_ends_at_any_moment_is_one_line(losing, run_ensad, data, tmp_path):
    url, lose = losing
    tune = ("tune", *SMALL, "--storage", url, "-q", "--trials")
    assert run_ensad(*tune, 1).exit_code == 0
    with lose(lambda count, statement: False) as seen:
        assert run_ensad(*tune, 2).exit_code == 0
    trials = 2
    for moment in range(1, len(seen), 11):
        with lose(lambda count, statement, moment=moment: count == moment):
            result = run_ensad(*tune, trials + 1)
        assert result.exit_code in (0, 4), result.output
        usual = ("warning: only 100 images", "warning: half of the trials")
        said = [line for line in result.stderr.splitlines() if not line.startswith(usual)]
        assert len(said) == (result.exit_code != 0), result.output
        assert SECRET not in result.output
        assert run_ensad(*tune, trials + 1).exit_code == 0
        trials += 1
    study = optuna.load_study(study_name=optuna.get_all_study_names(url)[0], storage=url)
    assert {trial.state.name for trial in study.trials} <= {"COMPLETE", "FAIL"}
    assert sum(trial.state.name == "COMPLETE" for trial in study.trials) == trials
