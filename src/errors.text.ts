/** The limits for reading an error: how many errors inside it, and how many characters. */
export const MAX_PARTS = 20;
const [MAX_LENGTH, MAX_NAME] = [10_000, 100];

const UNREADABLE = 'a value was thrown that cannot be shown as text';

/**
 * The message of any thrown value. For an AggregateError, whose own message is empty, the messages of its
 * errors. Never throws, and reads only a bounded part of an error.
 */
export function reasonOf(error: unknown): string {
  try {
    return messageOf(error, { parts: MAX_PARTS }).slice(0, MAX_LENGTH).toWellFormed();
  } catch {
    // For example `Object.create(null)`, or a revoked proxy.
    return UNREADABLE;
  }
}

function messageOf(error: unknown, left: { parts: number }): string {
  if (left.parts-- <= 0) return '…';
  // It does not use `instanceof`, because an error may come from another realm.
  const { message, errors } = (error ?? {}) as { message?: unknown; errors?: unknown };
  if (typeof message === 'string' && message !== '') return message;
  if (!Array.isArray(errors) || errors.length === 0) return String(error);
  return errors
    .slice(0, Math.max(left.parts, 1))
    .map((one) => messageOf(one, left))
    .join(', ');
}

/** The message of any thrown value without a full stop at its end, to put it into a sentence. */
export const clauseOf = (error: unknown): string => reasonOf(error).replace(/\.$/, '');

/** Converts any thrown value to the form of a trace, with a limited length. */
export function exceptionOf(error: unknown): { name: string; message: string; stack?: string } {
  const message = reasonOf(error);
  try {
    const { name, stack } = (error ?? {}) as { name?: unknown; stack?: unknown };
    return {
      name: typeof name === 'string' ? name.slice(0, MAX_NAME) : 'Error',
      message,
      ...(typeof stack === 'string' ? { stack: stack.slice(0, MAX_LENGTH) } : {}),
    };
  } catch {
    return { name: 'Error', message };
  }
}

/** The thrown value, or an error in its place if the value cannot even be inspected (a revoked proxy). */
export function readable(error: unknown): unknown {
  try {
    // `instanceof` reads the prototype, which throws for a revoked proxy.
    if (typeof error === 'object' && error !== null) Object.getPrototypeOf(error);
    return error;
  } catch {
    return new Error(UNREADABLE);
  }
}
