"""Business: what was earned, by kind, channel and arm, and how much more than with no model and with no contact."""

from services.dashboards.panels import Board, Panel, Row, Variable, number, panel

KIND = 'kind=~"$kind"'
WINDOW = "1h"
SINCE = "Since the updater's start."
Z_95 = 1.96
"""Standard errors on either side of an estimate: 95 % where strategies were independent."""
FINALS = f'stratagem_rewards_total{{stage="final",{KIND}}}'


def share(of: str, among: str, by: str) -> str:
    """What share of some outcomes were also others, within the window."""
    parts = (
        f'sum by ({by}) (increase(stratagem_outcomes_total{{outcome="{outcome}",{KIND}}}[{WINDOW}]))'
        for outcome in (of, among)
    )
    return " / ".join(parts)


def mean(sums: str) -> str:
    """Per strategy and arm."""
    return f"sum by (arm) ({sums}{{{KIND}}}) / sum by (arm) ({FINALS})"


def variance_of_mean(sums: str, squares: str) -> str:
    """Of the mean of each arm."""
    count = f"sum by (arm) ({FINALS})"
    return f"(sum by (arm) ({squares}{{{KIND}}}) / {count} - ({mean(sums)})^2) / {count}"


def lift(sums: str, squares: str, against: str) -> tuple[tuple[str, str], ...]:
    """Every arm's mean less a reference arm's, with the 95 % interval of the difference."""
    arm = f'{{arm="{against}",{KIND}}}'
    count = f'sum(stratagem_rewards_total{{stage="final",arm="{against}",{KIND}}})'
    base = f"scalar(sum({sums}{arm}) / {count})"
    own = variance_of_mean(sums, squares)
    other = f"scalar((sum({squares}{arm}) / {count} - (sum({sums}{arm}) / {count})^2) / {count})"
    width = f"{Z_95} * sqrt(clamp_min({own} + {other}, 0))"
    estimate = f"({mean(sums)} - {base})"
    return (
        (estimate, "{{arm}}"),
        (f"{estimate} - {width}", "{{arm}} lower"),
        (f"{estimate} + {width}", "{{arm}} upper"),
    )


def of_shown(title: str, outcome: str, by: str) -> Panel:
    """Which share of what was shown came to an outcome, by one label."""
    return panel(
        f"{title} by {by}",
        "percentunit",
        f"{outcome.capitalize()} of shown, final outcomes of the last {WINDOW}.",
        (share(outcome, "shown", by), f"{{{{{by}}}}}"),
    )


LABELS = ("kind", "channel", "arm")
COSTS = f'sum by (arm) (stratagem_reward_parts{{part="cost",{KIND}}})'
NOTE = (
    f"{SINCE} The interval is of strategies, 95 %: customers with several make it somewhat too narrow. "
    "What decides on adapters is the trials' bounds per customer (Learning)."
)
BOARD = Board(
    "stratagem-business",
    "Stratagem: business",
    "What strategies earn. Arms are the customers' assigned ones.",
    (
        Row(
            "Answers of customers",
            tuple(
                of_shown(*what, by)
                for what in (("Click-through", "clicked"), ("Conversion", "ordered"))
                for by in LABELS
            ),
        ),
        Row(
            "Worth",
            (
                panel(
                    "Reward per strategy, by arm",
                    "short",
                    f"{SINCE} Finals and corrections, units of reward.",
                    (mean("stratagem_reward_sum"), "{{arm}}"),
                ),
                panel(
                    "Reward per strategy, by kind",
                    "short",
                    f"{SINCE} Without the customers who are never contacted.",
                    (
                        (
                            f'sum by (kind) (stratagem_reward_sum{{arm!="holdout",{KIND}}}) / sum by (kind) '
                            f'(stratagem_rewards_total{{stage="final",arm!="holdout",{KIND}}})'
                        ),
                        "{{kind}}",
                    ),
                ),
                panel(
                    "Return on what contacts cost",
                    "percentunit",
                    f"{SINCE} Final rewards before the contact's cost, over that cost, less 1.",
                    (
                        f"(sum by (arm) (stratagem_reward_parts{{{KIND}}}) - {COSTS}) / (0 - {COSTS} > 0) - 1",
                        "{{arm}}",
                    ),
                ),
                panel(
                    "Parts of the reward",
                    "short",
                    f"{SINCE} All arms, units of reward.",
                    (f"sum by (part) (stratagem_reward_parts{{{KIND}}})", "{{part}}"),
                ),
                panel(
                    "Finals per second",
                    "ops",
                    "Strategies whose window has closed, by arm.",
                    (
                        f'sum by (arm) (rate(stratagem_rewards_total{{stage="final",{KIND}}}[$__rate_interval]))',
                        "{{arm}}",
                    ),
                ),
                number(
                    "Complaints and unsubscriptions",
                    "percentunit",
                    f"Of strategies closed within the last {WINDOW}.",
                    (share("complained", "closed", "arm"), "complained {{arm}}"),
                    (share("unsubscribed", "closed", "arm"), "unsubscribed {{arm}}"),
                ),
            ),
        ),
        Row(
            "Lift",
            (
                panel(
                    "Reward per strategy over the random arm",
                    "short",
                    NOTE,
                    *lift("stratagem_reward_sum", "stratagem_reward_squares", "random"),
                    width=12,
                ),
                panel(
                    "Net margin over no contact",
                    "short",
                    f"All the customer's orders within the horizon, credited or not, less the contact's cost. {NOTE}",
                    *lift("stratagem_net_margin_sum", "stratagem_net_margin_squares", "holdout"),
                    width=12,
                ),
            ),
        ),
    ),
    (Variable("kind", "stratagem_rewards_total"),),
)
