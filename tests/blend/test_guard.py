"""What can be seen to be wrong without labels."""

from ensemble_ad.blend import blend_scores


def test_more_separation_than_the_given_share_allows_fires_a_guard(members):
    reference, test, _ = members()
    assert any("allow" in line for line in blend_scores(reference, test, anomaly_share=0.05).guards)
    assert not any("allow" in line for line in blend_scores(reference, test, anomaly_share=0.6).guards)
