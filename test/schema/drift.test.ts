import type { Harness } from '../support/harness.js';
import { openHarness } from '../support/harness.js';

let h: Harness;
beforeAll(async () => {
  h = await openHarness();
});
afterAll(() => h.close());

it('leaves the schema generator nothing to change', async () => {
  const { upQueries } = await h.dataSource.driver.createSchemaBuilder().log();
  expect(upQueries.map(({ query }) => query)).toEqual([]);
});
