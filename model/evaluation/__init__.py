"""What strategies brought: rates and money with intervals, lift, the worth of a policy on others' traffic, quality of texts. Pure."""
