import { TestSession } from './test.session.js';

/** The session of this process, as one of its databases holds it. */
export interface HeldSession {
  readonly session: TestSession;
  /** The last one that lets go closes it. */
  letGo(): Promise<void>;
}

let current: { readonly opening: Promise<TestSession>; holders: number } | undefined;

/** Opens this process's session, unless it is open. */
export async function holdSession(): Promise<HeldSession> {
  const shared = (current ??= { opening: TestSession.open(), holders: 0 });
  shared.holders += 1;
  const leave = (): boolean => {
    shared.holders -= 1;
    if (shared.holders > 0) return false;
    if (current === shared) current = undefined;
    return true;
  };
  try {
    const session = await shared.opening;
    return { session, letGo: async () => (leave() ? session.close() : undefined) };
  } catch (error) {
    leave();
    throw error;
  }
}
