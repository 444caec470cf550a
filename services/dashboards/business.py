"""Business: what was earned, by kind, channel and arm, and how much more than with no model and with no contact."""

from services.dashboards.panels import Board, Panel, Row, Variable, number, panel

KIND = 'kind=~"$kind"'
WINDOW = "1h"
SINCE = "Since the updater's start."
FINALS = "stratagem_finals_total"
T_95 = 2.04
"""Standard errors on either side of an estimate: Student's t, 95 %, of the 32 groups that customers are counted in."""
LEAST_GROUPS = 10
"""With fewer an interval would be too narrow by a tenth and more; none is drawn."""


def share(of: str, among: str, by: str) -> str:
    """What share of some outcomes were also others, within the window."""
    parts = (
        f'sum by ({by}) (increase(stratagem_outcomes_total{{outcome="{outcome}",{KIND}}}[{WINDOW}]))'
        for outcome in (of, among)
    )
    return " / ".join(parts)


def total(metric: str, by: str, where: str) -> str:
    """A metric's sum by some labels, of what a selector chooses."""
    return f"sum by ({by}) ({metric}{{{where}}})"


def mean(sums: str, by: str, where: str = KIND) -> str:
    """Per final."""
    return f"({total(sums, by, where)} / {total(FINALS, by, where)})"


def variance_of_mean(sums: str, by: str, where: str = KIND) -> str:
    """Of each mean, groups of customers as what is independent.

    Source: the linearised variance of a ratio of sums over clusters (Cochran, Sampling Techniques, 3rd ed., eq. 11.12).
    """
    in_groups = f"{by}, group" if by else "group"
    counts = total(FINALS, in_groups, where)
    beyond = f"{total(sums, in_groups, where)} - {mean(sums, by, where)} * on ({by}) group_right () {counts}"
    groups = f"(count by ({by}) ({counts} > 0) >= {LEAST_GROUPS})"
    return f"{groups} / ({groups} - 1) * sum by ({by}) (({beyond})^2) / {total(FINALS, by, where)}^2"


def lift(sums: str, against: str, by: str = "arm") -> tuple[tuple[str, str], ...]:
    """Every arm's mean less a reference arm's, or that of arm `fused` by kind, with the 95 % interval of the difference."""
    other = f'arm="{against}",{KIND}'
    own, beside, less = (KIND, "", "on () group_left ()") if by == "arm" else (f'arm="fused",{KIND}', by, f"on ({by})")
    estimate = f"({mean(sums, by, own)} - {less} {mean(sums, beside, other)})"
    both = f"({variance_of_mean(sums, by, own)}) + {less} ({variance_of_mean(sums, beside, other)})"
    width = f"{T_95} * sqrt({both})"
    return (
        (estimate, f"{{{{{by}}}}}"),
        (f"{estimate} - {width}", f"{{{{{by}}}}} lower"),
        (f"{estimate} + {width}", f"{{{{{by}}}}} upper"),
    )


def returned(by: str) -> Panel:
    """What came back on what contacts cost, by one label."""
    parts, costs = (f"sum by ({by}) (stratagem_reward_parts{{{part}{KIND}}})" for part in ("", 'part="cost",'))
    return panel(
        f"Return on what contacts cost by {by}",
        "percentunit",
        f"{SINCE} Final rewards before the contact's cost, over that cost, less 1.",
        (f"({parts} - {costs}) / (0 - {costs} > 0) - 1", f"{{{{{by}}}}}"),
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
NOTE = (
    f"{SINCE} 95 % intervals of groups of customers, whose strategies stay together; none below {LEAST_GROUPS} groups. "
    "What decides on adapters is the trials' bounds per customer, which may be looked at at any time (Learning)."
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
                    (mean("stratagem_reward_sum", "arm"), "{{arm}}"),
                ),
                panel(
                    "Reward per strategy, by kind",
                    "short",
                    f"{SINCE} Without the customers who are never contacted.",
                    (mean("stratagem_reward_sum", "kind", f'arm!="holdout",{KIND}'), "{{kind}}"),
                ),
                panel(
                    "Reward per strategy, by channel",
                    "short",
                    f"{SINCE} Finals alone. No lift: who is told something by which channel is chosen by the arm.",
                    (
                        (
                            f"sum by (channel) (stratagem_reward_parts{{{KIND}}}) / sum by (channel) "
                            f'(stratagem_outcomes_total{{outcome="closed",{KIND}}})'
                        ),
                        "{{channel}}",
                    ),
                ),
                *(returned(by) for by in LABELS),
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
                    *lift("stratagem_reward_sum", "random"),
                    width=12,
                ),
                panel(
                    "Reward per strategy of arm `fused` over the random arm, by kind",
                    "short",
                    NOTE,
                    *lift("stratagem_reward_sum", "random", "kind"),
                    width=12,
                ),
                *(
                    panel(
                        f"Net margin {title}",
                        "short",
                        f"All the customer's orders within the horizon, credited or not, less the contact's cost. {NOTE}",
                        *lift("stratagem_net_margin_sum", "holdout", by),
                        width=12,
                    )
                    for title, by in (("over no contact", "arm"), ("of arm `fused` over no contact, by kind", "kind"))
                ),
            ),
        ),
    ),
    (Variable("kind", "stratagem_rewards_total"),),
)
