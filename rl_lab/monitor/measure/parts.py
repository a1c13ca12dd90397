"""The parts of an update that are digested, in causal order: each follows from those before it."""

PREFIX = "digest_"
"""The column of a part is digest_<part>."""
CHAIN = "digest_chain"
"""The column of the chain, chain_n = H(chain_n-1, digests of all parts of update n): two runs with the same one have
had the same updates, all of them."""

PARTS = {
    "before": "the policy's parameters and buffers before the update",
    "start": "the observations with which the rollout began",
    "answers": "what the policy answered to those: actions, log-probabilities, values",
    "random": "the generators of random numbers when the rollout was complete",
    "observations": "all observations of the rollout, and the masks of its actions",
    "actions": "all actions of the rollout",
    "values": "log-probabilities of the actions and values of the states, as stored",
    "rewards": "all rewards of the rollout, as stored",
    "returns": "returns and advantages",
    "after": "the policy's parameters and buffers after the update",
    "optimizer": "what is carried on beside the policy: the optimizers' states, the rule's memory",
}
"""By name what each is, for a stretch of an off-policy algorithm too: its rollout is what came into the replay
buffer, where neither values nor returns are stored. Outside stable-baselines3 there are no buffers in before and
after, only parameters, and no generators."""
