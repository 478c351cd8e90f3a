import type { Comparison } from './comparison.js';
import { compareBoots, tableOf } from './comparison.js';

const REPLICAS = 8;
const ROUNDS = 3;

describe('the comparison with plain TypeORM', () => {
  let comparison: Comparison;
  beforeAll(async () => {
    comparison = await compareBoots(REPLICAS, ROUNDS);
    process.stdout.write(`${tableOf(comparison)}\n`);
  }, 120_000);

  it('is fair: one replica alone boots, with plain TypeORM and with this package', () => {
    expect(comparison.alone).toEqual({ plain: { booted: true }, ours: { booted: true } });
  });

  it('finds no boot of this package that fails', () => {
    expect(comparison.figures.ours).toEqual({ boots: REPLICAS * ROUNDS, failed: 0, reasons: [] });
  });

  it('counts each boot of plain TypeORM, and tells why it failed', () => {
    const { boots, failed, reasons } = comparison.figures.plain;
    expect(boots).toBe(REPLICAS * ROUNDS);
    expect(reasons.reduce((sum, { times }) => sum + times, 0)).toBe(failed);
    const table = tableOf(comparison);
    for (const { reason, times } of reasons) expect(table).toContain(`${times} × ${reason}`);
  });
});
