"""Learning: what the critic gets wrong, what the gate says and by which numbers, trials on customers, freshness."""

from services.dashboards.panels import Board, Panel, Row, number, panel, quantiles


def gate(title: str, unit: str, says: str, *numbers: str) -> Panel:
    """Numbers of the gate's last decision on an adapter."""
    return panel(
        title,
        unit,
        says,
        *(
            (f'max by (number) (stratagem_gate_number{{what="adapter",number="{name}"}})', "{{number}}")
            for name in numbers
        ),
    )


VALUE = 'max(stratagem_gate_number{what="adapter",number="value_difference"})'
ERROR = '2 * max(stratagem_gate_number{what="adapter",number="value_difference_se"})'
BOARD = Board(
    "stratagem-learning",
    "Stratagem: learning",
    "The updater: rewards in, critics and adapters out, through the gate, beside canaries and anchors.",
    (
        Row(
            "Critic",
            (
                panel(
                    "Error",
                    "short",
                    "Prequential log loss per outcome, recent mean, nats: each reward is predicted before it is learned.",
                    ("max by (outcome) (stratagem_critic_error)", "{{outcome}}"),
                    width=6,
                ),
                panel(
                    "Calibration",
                    "percentunit",
                    "Predicted less observed probability on the last closed rewards, as the gate saw it.",
                    ('max by (number) (stratagem_gate_number{what="critic",number=~".*_bias"})', "{{number}}"),
                    width=6,
                ),
                panel(
                    "Drift",
                    "short",
                    "Drifts detected within the last hour, by kind.",
                    ("sum by (kind) (increase(stratagem_drifts_total[1h]))", "{{kind}}"),
                    width=6,
                ),
                panel(
                    "What rewards were used for",
                    "short",
                    "Rewards of the last hour by what the critic did with them; an outage's teach nothing, a late one's its refund alone.",
                    ("sum by (fate) (increase(stratagem_lessons_total[1h]))", "{{fate}}"),
                    width=6,
                ),
            ),
        ),
        Row(
            "Training",
            (
                panel(
                    "Loss",
                    "short",
                    "Cross-entropy of the last step, nats per slot.",
                    ("stratagem_training_loss", "loss"),
                ),
                panel(
                    "Steps and rewards",
                    "ops",
                    "LoRA steps, and the rewards that they are taken for.",
                    ("sum(rate(stratagem_training_steps_total[$__rate_interval]))", "steps"),
                    ("sum by (stage) (rate(stratagem_rewards_total[$__rate_interval]))", "rewards: {{stage}}"),
                ),
                panel(
                    "Reward to adapter",
                    "s",
                    "From the reward that completed an adapter's data to its being served. The service level: 60 s.",
                    *quantiles("stratagem_reward_to_adapter_seconds", ""),
                ),
            ),
        ),
        Row(
            "Gate",
            (
                panel(
                    "Decisions",
                    "short",
                    "Within the last hour.",
                    ("sum by (what, decision) (increase(stratagem_gate_decisions_total[1h]))", "{{what}} {{decision}}"),
                ),
                panel(
                    "Value against the champion",
                    "short",
                    "Doubly robust, on rewards newer than the candidate, completed by what the critic expects after a response; with two "
                    "standard errors on either side.",
                    (VALUE, "difference"),
                    (f"{VALUE} - {ERROR}", "lower"),
                    (f"{VALUE} + {ERROR}", "upper"),
                ),
                gate(
                    "Effective sample size",
                    "short",
                    "Of the importance weights: with fewer than 5 the value cannot be judged. Beside it the decisions judged, and those of "
                    "them whose outcomes are final.",
                    "candidate_effective",
                    "champion_effective",
                    "value_rows",
                    "final_decisions",
                ),
                gate(
                    "KL and entropy",
                    "short",
                    "KL of the candidate to the champion, nats per request; entropy, nats per slot.",
                    "kl_nats",
                    "entropy_nats",
                ),
                gate(
                    "What the language model carries of its critic",
                    "percentunit",
                    "Its own gain over the critic's, by the critic's word: its share of fused decisions is earned by it.",
                    "following",
                ),
                gate(
                    "Parity",
                    "short",
                    "Largest |log p - logged log p| of served decisions: trainer and server mean the same.",
                    "parity_max",
                ),
                number(
                    "Swaps",
                    "short",
                    "Champions changed in the workers within the last hour.",
                    ("sum(increase(stratagem_swaps_total[1h]))", "swaps"),
                ),
            ),
        ),
        Row(
            "Canary and anchor",
            (
                panel(
                    "Share of customers",
                    "percentunit",
                    "Of the model arms, by what they are served.",
                    ("max by (role) (stratagem_served_share)", "{{role}}"),
                ),
                panel(
                    "Customers counted",
                    "short",
                    "Whose window has closed.",
                    ("max by (role, side) (stratagem_trial_customers)", "{{role}} {{side}}"),
                ),
                panel(
                    "Reward per customer, version on trial less the other",
                    "short",
                    "Estimate and bounds that may be looked at at any time; the side that is not shown yet is the widest there is.",
                    ("max by (role, bound) (stratagem_trial_difference)", "{{role}} {{bound}}"),
                ),
                panel(
                    "Harm, version on trial less the other",
                    "percentunit",
                    "Share of customers who complained, got a template, or were answered late.",
                    ("max by (role, harm) (stratagem_trial_harm)", "{{role}} {{harm}}"),
                ),
                panel(
                    "Strategy to reward",
                    "s",
                    "Event time from issue to closing.",
                    *quantiles("stratagem_reward_delay_seconds", "stage"),
                ),
            ),
        ),
    ),
)
