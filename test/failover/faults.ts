import type { Cluster } from './cluster.js';

/**
 * What happens to the leader of a cluster, while work goes on. Each function returns when PostgreSQL is
 * back, here or elsewhere, and what was lost is on its way back, too.
 */
export const FAULTS: Record<string, (cluster: Cluster) => Promise<void>> = {
  /** An operator hands over to the synchronous standby. */
  switchover: async (cluster) => {
    const leader = await cluster.leader();
    await cluster.switchover();
    await cluster.untilLed(leader);
  },

  /** The host loses its power. It comes back when another one leads. */
  'killed node': async (cluster) => {
    const leader = await cluster.leader();
    cluster.signal(leader, 'SIGKILL');
    await cluster.untilLed(leader);
    cluster.startNode(leader);
  },

  /** PostgreSQL crashes. Its Patroni lives, and starts it again. */
  'killed postmaster': async (cluster) => {
    const leader = await cluster.leader();
    const postmaster = cluster.postmaster(leader);
    if (postmaster === undefined) throw new Error(`PostgreSQL of ${leader.name} does not run.`);
    process.kill(postmaster, 'SIGKILL');
    await cluster.until(`PostgreSQL of ${leader.name} to start again`, async () => {
      const another = cluster.postmaster(leader);
      return another !== undefined && another !== postmaster;
    });
  },

  /** The host stands still, as a virtual machine may. It goes on, and knows nothing, when another one leads. */
  'frozen primary': async (cluster) => {
    const leader = await cluster.leader();
    cluster.signal(leader, 'SIGSTOP');
    await cluster.untilLed(leader);
    cluster.signal(leader, 'SIGCONT');
  },
};
