"""metarl: meta-learning that adapts."""

import metarl.envs as _envs  # noqa: F401  registers the world ids with Gymnasium
