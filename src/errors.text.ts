/** How much of an error is read: how many errors inside of it, and characters of its text. */
export const MAX_PARTS = 20;
const [MAX_LENGTH, MAX_NAME] = [10_000, 100];

const UNREADABLE = 'something was thrown that cannot be put into words';

/**
 * The message of anything thrown, also of an AggregateError (whose own message is empty). Never throws,
 * and reads no more than a part of an error without an end.
 */
export function reasonOf(error: unknown): string {
  try {
    return messageOf(error, { parts: MAX_PARTS }).slice(0, MAX_LENGTH).toWellFormed();
  } catch {
    // Such as `Object.create(null)`, or a proxy that was revoked.
    return UNREADABLE;
  }
}

function messageOf(error: unknown, left: { parts: number }): string {
  if (left.parts-- <= 0) return '…';
  // Not instanceof: an error may come from another realm.
  const { message, errors } = (error ?? {}) as { message?: unknown; errors?: unknown };
  if (typeof message === 'string' && message !== '') return message;
  if (!Array.isArray(errors) || errors.length === 0) return String(error);
  return errors
    .slice(0, Math.max(left.parts, 1))
    .map((one) => messageOf(one, left))
    .join(', ');
}

/** The message of anything thrown, without a full stop at its end, to put it inside of a sentence. */
export const clauseOf = (error: unknown): string => reasonOf(error).replace(/\.$/, '');

/** What a trace notes of anything thrown: bounded, and whatever it is. */
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

/** What was thrown, or an error in its place if it is something that cannot even be looked at. */
export function readable(error: unknown): unknown {
  try {
    // `instanceof` asks for it.
    if (typeof error === 'object' && error !== null) Object.getPrototypeOf(error);
    return error;
  } catch {
    return new Error(UNREADABLE);
  }
}
