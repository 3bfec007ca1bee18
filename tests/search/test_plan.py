"""A study's settings."""

from ensemble_ad.search.plan import TuneSettings

SECRET = "hunter2-not-to-be-seen"


def test_settings_do_not_show_where_a_study_is_kept():
    settings = TuneSettings(family="fcn", storage=f"postgresql://u:{SECRET}@h/d", artifacts=f"file:///{SECRET}")
    assert SECRET not in repr(settings)
