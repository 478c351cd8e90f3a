import 'reflect-metadata';
import { isDeepStrictEqual } from 'node:util';
import { isDate } from 'node:util/types';
import { getMetadataStorage, validateSync } from 'class-validator';
import * as fc from 'fast-check';
import { TransactionOptions } from '../../src/sql/transaction.options.js';
import { InvalidInputError } from '../../src/errors.js';
import { readInput } from '../../src/input/input.js';
import * as bulkInputs from '../../src/jobs/bulk/bulk.inputs.js';
import * as jobInputs from '../../src/jobs/job.inputs.js';
import * as notificationInputs from '../../src/notifications/notification.inputs.js';
import { valueOf } from './input.arbitraries.js';

type InputClass = new () => object;

const COPIED = new Set(['parameters', 'output']);

const CLASSES: readonly InputClass[] = [
  TransactionOptions,
  ...(Object.values({ ...jobInputs, ...bulkInputs, ...notificationInputs }) as InputClass[]),
];

const propertiesOf = (inputClass: InputClass): string[] => [
  ...new Set(
    getMetadataStorage()
      .getTargetValidationMetadatas(inputClass, '', false, false)
      .map(({ propertyName }) => propertyName),
  ),
];

/** The way in which an object has a property. */
type Way = 'own' | 'getter' | 'inherited' | 'hidden' | 'absent';

interface Shape {
  readonly properties: Record<string, { way: Way; value: unknown }>;
  readonly extras: readonly (readonly [PropertyKey, unknown])[];
  readonly bare: boolean;
}

/**
 * Builds an object. Its prototype is that of the class, as in the objects that a ValidationPipe makes, or another
 * one, as in the objects that callers pass.
 */
function build(shape: Shape, prototype: object | null): object {
  const inherited = Object.create(prototype) as object;
  const object = Object.create(inherited) as object;
  for (const [name, { way, value }] of Object.entries(shape.properties)) {
    const at = { configurable: true, enumerable: way !== 'hidden' };
    if (way === 'inherited') Object.defineProperty(inherited, name, { ...at, value });
    if (way === 'getter') Object.defineProperty(object, name, { ...at, get: () => value });
    if (way === 'own' || way === 'hidden') Object.defineProperty(object, name, { ...at, value });
  }
  for (const [name, value] of shape.extras) {
    Object.defineProperty(object, name, { configurable: true, enumerable: true, value });
  }
  return object;
}

/**
 * Names of properties of every object. class-validator overlooks some of them, because it looks them up in an
 * object literal.
 */
const OVERLOOKED = ['__proto__', 'hasOwnProperty', 'isPrototypeOf'];

const shapeOf = (inputClass: InputClass): fc.Arbitrary<Shape> =>
  fc.record({
    properties: fc.record(
      Object.fromEntries(
        propertiesOf(inputClass).map((name) => [
          name,
          fc.record({
            way: fc.oneof(
              { weight: 6, arbitrary: fc.constant<Way>('own') },
              {
                weight: 3,
                arbitrary: fc.constantFrom<Way>('getter', 'inherited', 'hidden', 'absent'),
              },
            ),
            value: valueOf(name),
          }),
        ]),
      ),
    ),
    extras: fc.oneof(
      { weight: 4, arbitrary: fc.constant([]) },
      {
        weight: 1,
        arbitrary: fc.array(
          fc.tuple(
            fc.oneof(
              fc.constantFrom<PropertyKey>('extra', '', '0', 'userID', 'filename ', Symbol('s')),
              fc.constantFrom<PropertyKey>(...OVERLOOKED, 'toString', 'valueOf'),
            ),
            fc.anything(),
          ),
          { maxLength: 2 },
        ),
      },
    ),
    bare: fc.boolean(),
  });

/** The result of readInput: the copy, or the problems by property. */
function read(inputClass: InputClass, input: object, strict: boolean) {
  try {
    return { result: readInput('test', inputClass, input, { strict }), problems: [] };
  } catch (error) {
    if (!(error instanceof InvalidInputError)) throw error;
    return {
      result: undefined,
      problems: error.problems.map(({ property, message }) => `${property} ${message}`).toSorted(),
    };
  }
}

/** The result of class-validator, in the form of the function above. */
function validate(instance: object, strict: boolean): string[] {
  return validateSync(instance, strict ? { whitelist: true, forbidNonWhitelisted: true } : {})
    .flatMap(({ property, constraints }) =>
      Object.entries(constraints ?? {}).map(([rule, message]) =>
        rule === 'whitelistValidation' ? `${property} is not a property of this input` : message,
      ),
    )
    .toSorted();
}

it('covers every input class', () => {
  expect(CLASSES.length).toBeGreaterThanOrEqual(15);
  for (const inputClass of CLASSES) expect(propertiesOf(inputClass)).not.toEqual([]);
});

describe.each(CLASSES.map((inputClass) => [inputClass.name, inputClass] as const))(
  '%s',
  (_, inputClass) => {
    it.each([true, false])(
      'is read as class-validator validates it (extra properties refused: %s)',
      (strict) => {
        const seen = { accepted: 0, refused: 0 };
        // The inputs must contain accepted ones and refused ones. For a class with many properties, few are accepted.
        for (
          let rounds = 0;
          rounds < 10 && Math.min(seen.accepted, seen.refused) <= 10;
          rounds += 1
        ) {
          fc.assert(
            fc.property(shapeOf(inputClass), (shape) => {
              const input = build(shape, shape.bare ? null : Object.prototype);
              const { result, problems } = read(inputClass, input, strict);
              const overlooked = Object.keys(input)
                .filter((key) => strict && OVERLOOKED.includes(key))
                .map((key) => `${key} is not a property of this input`);
              // A ValidationPipe may let a property with such a name through to a controller. The services refuse it.
              const expected = validate(build(shape, inputClass.prototype as object), strict);
              expect(problems).toEqual([...expected, ...overlooked].toSorted());
              if (result === undefined) {
                seen.refused += 1;
                return;
              }
              seen.accepted += 1;
              expect(result).toBeInstanceOf(inputClass);
              const names = propertiesOf(inputClass);
              for (const [name, descriptor] of Object.entries(
                Object.getOwnPropertyDescriptors(result),
              )) {
                expect(names).toContain(name);
                expect(Object.hasOwn(descriptor, 'value')).toBe(true);
                const given = shape.properties[name]?.value;
                // The service copies JSON and dates, so that nobody can change them after the check.
                const isSame = COPIED.has(name)
                  ? isDeepStrictEqual(descriptor.value, JSON.parse(JSON.stringify(given)))
                  : isDate(given)
                    ? descriptor.value !== given && Number(descriptor.value) === given.getTime()
                    : Object.is(descriptor.value, given);
                expect(isSame).toBe(true);
              }
            }),
            { numRuns: 400 },
          );
        }
        expect(Math.min(seen.accepted, seen.refused)).toBeGreaterThan(10);
      },
    );
  },
);

describe('an input that is no object', () => {
  const simple: unknown[] = [undefined, null, 0, 1, Number.NaN, '', 'x', true, 5n, Symbol('x')];
  const objects: unknown[] = [() => ({}), [], [{}], new Date(), new Map([['userId', 'x']])];
  const others: unknown[] = [new Set(), Promise.resolve({}), /x/, new URLSearchParams('userId=x')];
  const values = simple.concat(objects, others, [new Error('x'), Buffer.of(1), Object('x')]);
  it.each(values.map((value) => [value]))('is refused: %p', (value) => {
    for (const inputClass of CLASSES) {
      expect(() => readInput('list', inputClass, value)).toThrow(
        'list was given invalid input, and did nothing: input must be an object.',
      );
      expect(() => readInput('list', inputClass, value, { strict: false })).toThrow(
        InvalidInputError,
      );
    }
  });
});

it('reads each property once, so that a getter cannot return another value later', () => {
  let reads = 0;
  const { limit } = readInput('listJobs', jobInputs.ListJobsInput, {
    get limit() {
      reads += 1;
      return reads === 1 ? 7 : 'DROP TABLE';
    },
  });
  expect([limit, reads]).toEqual([7, 1]);
});
