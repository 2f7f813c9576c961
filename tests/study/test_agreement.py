"""Agreement of scores with truth: against definitions, brute force and simulations."""

from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rayxkd.study.agreement import agreement
from rayxkd.study.choices import recall, regret, regret_curve
from rayxkd.study.correlations import pearson, rank_correlations, spearman, weighted_tau
from rayxkd.study.intervals import interval_over_tasks, paired_test
from rayxkd.study.reliability import ceiling, reliability

CORRELATIONS = [weighted_tau, spearman, pearson]
TRUTH_T = np.array([0.5, 0.9, 0.7, 0.8, 0.6])
CONSTANT_T = np.zeros(5)


@st.composite
def judged(draw, most: int = 6):
    """Scores and truth of a few teachers, with many ties."""
    count = draw(st.integers(1, most))
    values = st.lists(st.integers(0, 4), min_size=count, max_size=count)
    return np.array(draw(values), float), np.array(draw(values)) / 4


def by_definition(score_T, truth_T):
    """Vigna's tau: inner products of all pairs' signs, weighted by both ranks, and their mean."""

    def by_ranks_of(first_T, second_T):
        rank_T = np.empty(len(first_T), int)
        rank_T[np.lexsort((second_T, first_T))[::-1]] = np.arange(len(first_T))

        def inner(one_T, other_T):
            return sum(
                np.sign(one_T[a] - one_T[b])
                * np.sign(other_T[a] - other_T[b])
                * (1 / (rank_T[a] + 1) + 1 / (rank_T[b] + 1))
                for a, b in combinations(range(len(one_T)), 2)
            )

        norm = np.sqrt(inner(first_T, first_T) * inner(second_T, second_T))
        return inner(first_T, second_T) / norm if norm else 0.0

    return (by_ranks_of(score_T, truth_T) + by_ranks_of(truth_T, score_T)) / 2


def choices(score_T, k):
    """The first k of every order that the score allows: all equally likely."""
    everyone = range(len(score_T))
    orders = (sorted(order, key=lambda t: -score_T[t]) for order in permutations(everyone))
    return [list(order[:k]) for order in orders]


# Correlations


@given(judged())
def test_weighted_tau_is_vignas(pair):
    assert weighted_tau(*pair) == pytest.approx(by_definition(*pair), abs=1e-12)


@pytest.mark.parametrize("correlation", CORRELATIONS)
class TestCorrelations:
    @given(pair=judged())
    def test_it_lies_between_minus_one_and_one(self, correlation, pair):
        assert -1 <= correlation(*pair) <= 1

    @given(pair=judged())
    def test_it_is_symmetric(self, correlation, pair):
        score_T, truth_T = pair
        swapped = correlation(truth_T, score_T)
        assert correlation(score_T, truth_T) == pytest.approx(swapped, abs=1e-12)

    @given(pair=judged(), data=st.data())
    def test_the_order_of_teachers_does_not_matter(self, correlation, pair, data):
        score_T, truth_T = pair
        order = np.array(data.draw(st.permutations(range(len(score_T)))))
        shuffled = correlation(score_T[order], truth_T[order])
        assert correlation(score_T, truth_T) == pytest.approx(shuffled, abs=1e-12)

    def test_the_right_order_is_one_and_the_wrong_one_minus_one(self, correlation):
        assert correlation(TRUTH_T, TRUTH_T) == pytest.approx(1)
        assert correlation(-TRUTH_T, TRUTH_T) == pytest.approx(-1)

    @pytest.mark.parametrize(
        ("score_T", "truth_T"),
        [(CONSTANT_T, TRUTH_T), (TRUTH_T, CONSTANT_T), (CONSTANT_T, CONSTANT_T)],
    )
    def test_who_says_nothing_knows_nothing(self, correlation, score_T, truth_T):
        assert correlation(score_T, truth_T) == 0
        assert correlation(score_T[:1], truth_T[:1]) == 0

    def test_a_teacher_without_score_is_refused(self, correlation):
        with pytest.raises(ValueError, match="leave it out"):
            correlation(np.where(TRUTH_T > 0.85, np.nan, TRUTH_T), TRUTH_T)

    def test_no_teachers_are_refused(self, correlation):
        with pytest.raises(ValueError, match="one value a teacher"):
            correlation(np.zeros(0), np.zeros(0))

    @pytest.mark.parametrize("shape", [(4,), (5, 1), (0,)])
    def test_other_shapes_are_refused(self, correlation, shape):
        with pytest.raises(ValueError, match="one value a teacher"):
            correlation(np.zeros(shape), TRUTH_T)


# Not so weighted tau, in which the worst teachers then weigh as much as the best did.
@pytest.mark.parametrize("correlation", [spearman, pearson])
@given(pair=judged())
def test_turning_the_score_round_turns_the_sign(correlation, pair):
    score_T, truth_T = pair
    found = correlation(score_T, truth_T)
    assert correlation(-score_T, truth_T) == pytest.approx(-found, abs=1e-12)
    assert correlation(-score_T, -truth_T) == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("correlation", [weighted_tau, spearman])
@given(pair=judged())
def test_only_the_order_of_scores_matters(correlation, pair):
    score_T, truth_T = pair
    assert correlation(np.exp(score_T), truth_T) == correlation(score_T, truth_T)
    assert correlation(score_T**3 - 7, truth_T) == correlation(score_T, truth_T)


def test_an_exchange_at_the_top_costs_more_than_one_at_the_bottom():
    top_T = np.array([0.5, 0.8, 0.7, 0.9, 0.6])
    bottom_T = np.array([0.6, 0.9, 0.7, 0.8, 0.5])
    assert weighted_tau(top_T, TRUTH_T) < weighted_tau(bottom_T, TRUTH_T)
    assert spearman(top_T, TRUTH_T) == pytest.approx(spearman(bottom_T, TRUTH_T))


def test_an_infinite_score_is_ranked_but_lies_on_no_line():
    score_T = np.where(TRUTH_T > 0.55, TRUTH_T, -np.inf)
    assert weighted_tau(score_T, TRUTH_T) == pytest.approx(1)
    assert spearman(score_T, TRUTH_T) == pytest.approx(1)
    assert pearson(score_T, TRUTH_T) == 0


def test_rank_correlations_are_those_of_pairs():
    generator = np.random.default_rng(0)
    scores = {name: generator.integers(0, 5, 8).astype(float) for name in "abc"}
    scores["constant"] = np.ones(8)
    found_RR = rank_correlations(scores)
    for (row, first_T), (column, second_T) in product(enumerate(scores.values()), repeat=2):
        expected = 1.0 if row == column else spearman(first_T, second_T)
        assert found_RR[row, column] == pytest.approx(expected)


def test_a_single_ranker_agrees_with_itself():
    assert rank_correlations({"a": TRUTH_T}).tolist() == [[1.0]]


def test_scores_of_other_teachers_do_not_compare():
    with pytest.raises(ValueError, match="one value a teacher"):
        rank_correlations({"a": TRUTH_T, "b": TRUTH_T[1:]})


# What a choice is worth


@given(judged(), st.integers(1, 7))
def test_regret_is_the_mean_over_all_orders_of_ties(pair, k):
    score_T, truth_T = pair
    expected = np.mean([truth_T.max() - truth_T[chosen].max() for chosen in choices(score_T, k)])
    assert regret(score_T, truth_T, k) == pytest.approx(100 * expected, abs=1e-10)
    assert regret(score_T, truth_T, k) >= 0


@given(judged(), st.integers(1, 7))
def test_recall_is_the_mean_over_all_orders_of_ties(pair, k):
    score_T, truth_T = pair
    # Every set of the k best: whichever of them the choice hits best is the one that counts.
    best = {frozenset(order) for order in choices(truth_T, k)}
    hits = [
        max(len(right.intersection(chosen)) for right in best) for chosen in choices(score_T, k)
    ]
    assert recall(score_T, truth_T, k) == pytest.approx(np.mean(hits) / min(k, len(truth_T)))
    assert 0 <= recall(score_T, truth_T, k) <= 1


@given(judged(most=12), st.integers(1, 13))
def test_a_perfect_score_regrets_nothing_and_recalls_all(pair, k):
    _, truth_T = pair
    assert regret(truth_T, truth_T, k) == 0
    assert recall(truth_T, truth_T, k) == 1


@given(judged(most=12))
def test_regret_falls_with_the_budget_to_nothing(pair):
    curve_T = regret_curve(*pair)
    assert len(curve_T) == len(pair[0])
    assert np.all(np.diff(curve_T) <= 1e-9)
    assert curve_T[0] == regret(*pair)
    assert curve_T[-1] == 0


def test_regret_is_in_accuracy_points():
    assert regret(np.array([0, 0, 0, 1, 0.5]), TRUTH_T) == pytest.approx(10)
    assert regret(-TRUTH_T, TRUTH_T, 2) == pytest.approx(30)


def test_who_cannot_tell_a_thousand_teachers_apart_recalls_by_luck():
    truth_T = np.arange(1000) / 1000
    assert recall(np.zeros(1000), truth_T, 500) == pytest.approx(0.5)
    # The best of 500 of 1,000: expected rank 1001 / 501 from the top.
    assert regret(np.zeros(1000), truth_T, 500) == pytest.approx(0.1 * (1001 / 501 - 1))


@pytest.mark.parametrize("measure", [regret, recall])
def test_the_best_none_are_refused(measure):
    with pytest.raises(ValueError, match="at least 1"):
        measure(TRUTH_T, TRUTH_T, 0)


def test_agreement_holds_plain_numbers():
    score_T = np.array([1.0, 2, 3, 5, 4])
    found = vars(agreement(score_T, TRUTH_T))
    assert all(type(value) is float for value in found.values())
    assert found == {
        "weighted_tau": weighted_tau(score_T, TRUTH_T),
        "spearman": spearman(score_T, TRUTH_T),
        "pearson": pearson(score_T, TRUTH_T),
        "regret_1": regret(score_T, TRUTH_T),
        "regret_3": regret(score_T, TRUTH_T, 3),
        "recall_1": recall(score_T, TRUTH_T, 1),
        "recall_3": recall(score_T, TRUTH_T, 3),
        "recall_5": recall(score_T, TRUTH_T, 5),
    }


# Reliability and ceiling


def noisy_truth(seed, *, seeds, noise, teachers=60):
    """Latent truth of variance 1, and what is seen of it: [T] and [S, T]."""
    generator = np.random.default_rng(seed)
    latent_T = generator.normal(size=teachers)
    return latent_T, latent_T + noise * generator.normal(size=(seeds, teachers))


@pytest.mark.parametrize("seeds", [2, 3, 4, 5])
@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_reliability_is_that_of_the_simulation(seeds, noise):
    found = [
        reliability(noisy_truth(seed, seeds=seeds, noise=noise, teachers=200)[1])
        for seed in range(10)
    ]
    assert np.mean(found) == pytest.approx(1 / (1 + noise**2 / seeds), abs=0.03)


def test_two_seeds_are_spearman_and_browns():
    _, truth_ST = noisy_truth(0, seeds=2, noise=0.5)
    r = stats.pearsonr(*truth_ST).statistic
    assert reliability(truth_ST) == pytest.approx(2 * r / (1 + r))


def test_three_seeds_are_horsts():
    _, truth_ST = noisy_truth(0, seeds=3, noise=0.5)
    r = np.mean(
        [pearson(truth_ST[one], np.delete(truth_ST, one, axis=0).mean(axis=0)) for one in range(3)]
    )
    twice = 2 * (1 / 3) * (2 / 3) * (1 - r**2)
    assert reliability(truth_ST) == pytest.approx(r * (np.sqrt(r**2 + 2 * twice) - r) / twice)


def test_what_a_seed_adds_to_all_is_no_noise():
    latent_T, truth_ST = noisy_truth(0, seeds=4, noise=0.5)
    shifted_ST = truth_ST + np.arange(4)[:, None]
    assert reliability(shifted_ST) == pytest.approx(reliability(truth_ST))
    assert reliability(latent_T + np.arange(4)[:, None]) == pytest.approx(1)


@pytest.mark.parametrize(
    "truth_ST",
    [np.full((3, 5), 0.5), np.stack([TRUTH_T, -TRUTH_T]), np.stack([TRUTH_T, CONSTANT_T])],
)
def test_truth_that_contradicts_itself_is_not_reliable(truth_ST):
    assert reliability(truth_ST) == 0
    assert ceiling(truth_ST, draws=10) == 0


@pytest.mark.parametrize("truth_ST", [TRUTH_T, TRUTH_T[None]])
def test_one_seed_shows_no_noise(truth_ST):
    with pytest.raises(ValueError, match="two seeds"):
        reliability(truth_ST)


@pytest.mark.parametrize("statistic", CORRELATIONS)
def test_without_noise_a_perfect_score_reaches_one(statistic):
    assert ceiling(np.stack([TRUTH_T] * 3), statistic, draws=10) == pytest.approx(1)


def test_the_ceiling_falls_with_noise():
    heights = [
        ceiling(noisy_truth(0, seeds=3, noise=noise)[1], draws=100) for noise in (0.1, 0.5, 1, 2)
    ]
    assert heights == sorted(heights, reverse=True)
    assert heights[0] > 0.9
    assert heights[-1] < 0.7


@pytest.mark.parametrize("statistic", [weighted_tau, pearson])
def test_the_ceiling_is_what_a_perfect_score_reaches(statistic):
    simulated = [noisy_truth(seed, seeds=3, noise=0.7, teachers=30) for seed in range(40)]
    reached = [statistic(latent_T, truth_ST.mean(axis=0)) for latent_T, truth_ST in simulated]
    heights = [ceiling(truth_ST, statistic, draws=40) for _, truth_ST in simulated]
    assert np.mean(heights) == pytest.approx(np.mean(reached), abs=0.03)


def test_the_ceiling_is_seeded():
    _, truth_ST = noisy_truth(0, seeds=3, noise=0.5)
    assert ceiling(truth_ST, draws=20) == ceiling(truth_ST, draws=20)
    assert ceiling(truth_ST, draws=20) != ceiling(truth_ST, seed=1, draws=20)


# Over tasks


def simulated_tasks(generator, tasks, seeds):
    return [generator.normal() + generator.normal(size=seeds) for _ in range(tasks)]


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    found = [
        interval_over_tasks(simulated_tasks(generator, 12, 3), seed=run, draws=500)
        for run in range(400)
    ]
    assert 0.9 < np.mean([interval.low <= 0 <= interval.high for interval in found]) < 0.98


def test_tasks_weigh_alike_however_many_seeds_they_have():
    interval = interval_over_tasks([np.array([0.0]), np.array([1.0, 1.0, 1.0])])
    assert (interval.mean, interval.low, interval.high) == (0.5, 0.0, 1.0)


def test_padding_is_never_drawn():
    interval = interval_over_tasks([np.full(1, 5.0), np.full(4, 5.0), np.full(2, 5.0)])
    assert (interval.low, interval.high) == (5.0, 5.0)


@pytest.mark.parametrize(
    ("shapes", "over"),
    [((3, 2), "tasks and seeds"), ((1, 1), "tasks"), ((3,), "seeds"), ((1,), "nothing")],
)
def test_an_interval_says_what_it_is_over(shapes, over):
    generator = np.random.default_rng(0)
    interval = interval_over_tasks([generator.normal(size=count) for count in shapes])
    assert interval.over == over
    if over == "nothing":
        assert np.isnan([interval.low, interval.high]).all()
    else:
        assert interval.low < interval.mean < interval.high


def test_of_one_task_it_is_the_bootstrap_of_its_seeds():
    values_S = np.random.default_rng(0).normal(size=20)
    interval = interval_over_tasks([values_S], draws=20_000)
    plain = stats.bootstrap(
        (values_S,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert interval.low == pytest.approx(plain.low, abs=0.02)
    assert interval.high == pytest.approx(plain.high, abs=0.02)


def test_seed_noise_widens_the_interval():
    quiet = [np.full(3, mean) for mean in (0.4, 0.5, 0.6, 0.7)]
    loud = [values_S + np.array([-0.5, 0.0, 0.5]) for values_S in quiet]
    first, second = interval_over_tasks(quiet), interval_over_tasks(loud)
    assert first.mean == pytest.approx(second.mean)
    assert first.high - first.low < second.high - second.low


@pytest.mark.parametrize("values_by_task", [[], [np.ones(2), np.ones(0)]])
def test_nothing_has_no_interval(values_by_task):
    with pytest.raises(ValueError, match="needs tasks"):
        interval_over_tasks(values_by_task)


@given(st.lists(st.integers(-4, 4), min_size=2, max_size=6))
def test_the_p_value_counts_all_signs(differences):
    first = [np.array([0.125 * value]) for value in differences]
    signs = np.array(list(product([-1, 1], repeat=len(differences))))
    as_extreme = np.abs(signs @ differences) >= abs(sum(differences))
    found = paired_test(first, [np.zeros(1)] * len(differences))
    assert found.p_value == pytest.approx(as_extreme.mean())


def test_p_values_are_as_rare_as_they_say():
    generator = np.random.default_rng(0)
    nothing = [np.zeros(2)] * 6
    found = [paired_test(simulated_tasks(generator, 6, 2), nothing).p_value for _ in range(300)]
    for level in (0.0625, 0.25, 0.5):
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=0.06)


def test_always_ahead_is_as_sure_as_the_number_of_tasks_allows():
    first = [np.array([0.6, 0.7]) for _ in range(6)]
    second = [np.array([0.5, 0.6]) for _ in range(6)]
    found = paired_test(first, second)
    assert found.p_value == pytest.approx(2 / 2**6)
    # Seeds are paired: what both gain by one is not noise.
    assert found.difference.low == pytest.approx(0.1)
    assert found.difference.high == pytest.approx(0.1)


def test_many_tasks_are_sampled():
    assert paired_test([np.ones(1)] * 30, [np.zeros(1)] * 30).p_value < 1e-3


def test_a_ranker_ties_with_itself():
    values = [TRUTH_T, TRUTH_T[::-1]]
    found = paired_test(values, values)
    assert (found.p_value, found.difference.mean) == (1, 0)


def test_one_task_tells_nothing():
    found = paired_test([TRUTH_T], [CONSTANT_T])
    assert found.p_value == 1
    assert found.difference.mean == pytest.approx(0.7)


def test_a_ranker_that_depends_on_no_seed_is_compared_with_all():
    found = paired_test([TRUTH_T, TRUTH_T], [np.array([0.5]), np.array([0.7])])
    assert found.difference.mean == pytest.approx(0.1)


@pytest.mark.parametrize("second", [[TRUTH_T], [TRUTH_T, TRUTH_T[:2]]])
def test_what_does_not_pair_is_refused(second):
    with pytest.raises(ValueError, match=r"zip|broadcast"):
        paired_test([TRUTH_T, TRUTH_T], second)
