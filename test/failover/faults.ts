import type { Cluster } from './cluster.js';

/**
 * The faults of the leader of a cluster, while work goes on. Each function returns when PostgreSQL accepts writes
 * again, on this node or on another one, and the lost node is starting again.
 */
export const FAULTS: Record<string, (cluster: Cluster) => Promise<void>> = {
  /** An operator hands over to the synchronous standby. */
  switchover: async (cluster) => {
    const leader = await cluster.leader();
    await cluster.switchover();
    await cluster.untilLed(leader);
  },

  /** The host loses its power. It comes back when another node leads. */
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

  /** The host is frozen, as a virtual machine may be. It goes on, without noticing, when another node leads. */
  'frozen primary': async (cluster) => {
    const leader = await cluster.leader();
    cluster.signal(leader, 'SIGSTOP');
    await cluster.untilLed(leader);
    cluster.signal(leader, 'SIGCONT');
  },
};
