import { assert, date as dates, property } from 'fast-check';
import { timestamptz } from '../../src/sql/result.types.js';

it.each([
  ['2026-01-31 12:00:00+00', '2026-01-31T12:00:00.000Z'],
  ['2026-01-31 12:00:00.1+00', '2026-01-31T12:00:00.100Z'],
  ['2026-01-31 12:00:00.12+00', '2026-01-31T12:00:00.120Z'],
  ['2026-01-31 12:00:00.123456+00', '2026-01-31T12:00:00.123Z'],
  ['2026-01-31 12:00:00.001-08', '2026-01-31T20:00:00.001Z'],
  ['2026-01-31 12:00:00+05:30', '2026-01-31T06:30:00.000Z'],
  ['2026-01-31 12:00:00.5-03:30', '2026-01-31T15:30:00.500Z'],
  ['1970-01-01 05:53:28+05:53:28', '1970-01-01T00:00:00.000Z'],
  ['10000-01-01 00:00:00+00', '+010000-01-01T00:00:00.000Z'],
])('reads %s', (text, iso) => {
  expect(timestamptz(text).toISOString()).toBe(iso);
});

it.each(['infinity', '-infinity', '31.01.2026 12:00:00 CET', '0044-03-15 12:00:00+00 BC', ''])(
  'does not read a wrong time from %j',
  (text) => {
    expect(timestamptz(text).getTime()).toBeNaN();
  },
);

it('reads every time of the years that can be stored', () => {
  const [min, max] = [new Date(0), new Date('9999-12-31T23:59:59.999Z')];
  assert(
    property(dates({ min, max, noInvalidDate: true }), (date) => {
      const text = `${date
        .toISOString()
        .replace('T', ' ')
        .replace(/\.?0*Z$/, '')}+00`;
      const padded =
        text.length < 22 ? `${date.toISOString().slice(0, 19).replace('T', ' ')}+00` : text;
      expect(timestamptz(padded)).toEqual(date);
    }),
  );
});
