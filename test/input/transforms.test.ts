import { createRequire } from 'node:module';
import * as ours from 'class-transformer';
import { CreateJobInput, ListJobsInput } from '../../src/index.js';

/** One file with all of class-transformer. This copy has its own storage. */
const other = createRequire(import.meta.url)(
  'class-transformer/bundles/class-transformer.umd.js',
) as typeof ours;

describe.each([
  ['the copy of class-transformer that this package has', ours],
  ['another copy, as a bundle may hold', other],
])('by %s', (_, { plainToInstance }) => {
  it('a number of a query is converted', () => {
    const input = plainToInstance(ListJobsInput, { limit: '10', cursor: 'abc' });
    expect({ ...input }).toEqual({ limit: 10, cursor: 'abc' });
    expect(plainToInstance(ListJobsInput, { limit: 'ten' }).limit).toBe('ten');
  });

  it('a time of a body is converted', () => {
    const availableAt = '2100-01-31T12:00:00.123Z';
    const input = plainToInstance(CreateJobInput, { availableAt });
    expect(input.availableAt).toEqual(new Date(availableAt));
    expect(JSON.stringify(input)).toBe(JSON.stringify({ availableAt }));
  });

  it('a value that is left out stays left out', () => {
    expect(Object.keys(plainToInstance(ListJobsInput, {}))).toEqual([]);
  });
});
