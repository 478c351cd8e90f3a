import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { act, actOnAll, AnswerError, isRefusal } from './api';
import type { ActionResult, Matching } from './api';
import type { Live } from './live';

/** Says that the shown data are old, and why. */
export function Banner({ live }: { live: Live<unknown> }): JSX.Element {
  return (
    <div role="status" aria-live="polite">
      {live.error !== undefined && (
        <p class="banner bad">
          <strong>{reasonOf(live.error)}</strong>{' '}
          {live.at === undefined
            ? 'Trying again.'
            : `What you see is of ${live.at.toLocaleTimeString()}. Trying again.`}
        </p>
      )}
    </div>
  );
}

function reasonOf(error: Error): string {
  if (!(error instanceof AnswerError)) return 'The application does not answer.';
  if (error.status === 503) return 'The database does not answer.';
  if (isRefusal(error)) {
    return 'You are no longer allowed to see this: sign in again, and reload the page.';
  }
  return error.status >= 500 ? `The application failed: ${error.message}` : error.message;
}

/** Shows a page: nothing before the first answer, then an error or the data. */
export function Loaded<T>({
  live,
  children,
}: {
  live: Live<T>;
  children: (data: T) => ComponentChildren;
}): JSX.Element {
  return (
    <>
      <Banner live={live} />
      {live.data === undefined
        ? live.error === undefined && <p class="dim loading">Loading…</p>
        : children(live.data)}
    </>
  );
}

/** A text in the place of an empty list. */
export const Empty = ({ children }: { children: ComponentChildren }): JSX.Element => (
  <p class="empty">{children}</p>
);

/** A table that scrolls on a narrow page, also by the keyboard. */
export const Table = ({
  label,
  children,
}: {
  label: string;
  children: ComponentChildren;
}): JSX.Element => (
  <div class="scroll" role="region" aria-label={`Table of ${label}`} tabIndex={0}>
    <table>{children}</table>
  </div>
);

/** The label of each action, and the question that it asks first. */
export const ACTIONS: Record<string, { label: string; question: string; danger?: boolean }> = {
  retry: { label: 'Retry', question: 'It gets all of its tries again, and is due at once.' },
  cancel: {
    label: 'Cancel',
    question: 'It fails for good, its user is told, and what is at work on it is stopped.',
    danger: true,
  },
  redeliver: { label: 'Deliver again', question: 'It is delivered again, with all of its tries.' },
};

/** A button that asks, does the action, and shows what was refused. */
export function ActionButton({
  action,
  ids,
  what,
  onDone,
}: {
  action: string;
  ids: readonly string[];
  /** The rows as text, such as `3 jobs`. */
  what: string;
  onDone: () => void;
}): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const [state, setState] = useState<'asking' | 'acting' | { results: ActionResult[] } | Error>();
  const isOpen = state !== undefined;
  useEffect(() => {
    if (isOpen) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isOpen]);
  const { label, question, danger } = ACTIONS[action] ?? { label: action, question: '' };
  const close = (): void => setState(undefined);
  const start = async (): Promise<void> => {
    setState('acting');
    try {
      const { results } = await act(action, ids);
      const isDone = results.every(({ refusal }) => refusal === null);
      setState(isDone ? undefined : { results });
    } catch (error) {
      setState(error as Error);
    }
    onDone();
  };
  const id = `dialog-${action}`;
  return (
    <>
      <button
        type="button"
        class={danger ? 'danger' : ''}
        disabled={ids.length === 0}
        onClick={() => setState('asking')}
      >
        {label}
      </button>
      <dialog ref={dialog} aria-labelledby={id} onClose={close}>
        {isOpen && (
          <>
            <h2 id={id}>
              {label}: {what}?
            </h2>
            {state instanceof Error ? (
              <p class="bad">{state.message}</p>
            ) : typeof state === 'object' ? (
              <Refusals results={state.results} />
            ) : (
              <p>{question}</p>
            )}
            <p class="buttons">
              {typeof state === 'string' && (
                <button
                  type="button"
                  class={danger ? 'danger primary' : 'primary'}
                  disabled={state === 'acting'}
                  onClick={() => void start()}
                >
                  {label} {what}
                </button>
              )}
              <button type="button" onClick={close}>
                {typeof state === 'string' ? 'Leave it' : 'Close'}
              </button>
            </p>
          </>
        )}
      </dialog>
    </>
  );
}

function Refusals({ results }: { results: readonly ActionResult[] }): JSX.Element {
  const refused = results.filter(({ refusal }) => refusal !== null);
  return (
    <>
      <p>
        {results.length - refused.length} done, {refused.length} refused:
      </p>
      <ul class="refusals">
        {refused.map(({ id, refusal }) => (
          <li key={id}>{refusal}</li>
        ))}
      </ul>
    </>
  );
}

/** The server counts up to this many rows. */
const COUNTED = 10_000;

const countOf = (matched: number): string =>
  matched > COUNTED ? `${COUNTED.toLocaleString('en')}+` : matched.toLocaleString('en');

/** A button for all rows that match. It counts them, asks, and does the action. */
export function ActionOnAllButton({
  action,
  label,
  noun,
  matching,
  onDone,
}: {
  action: string;
  label: string;
  /** The name of the rows, in the plural. */
  noun: string;
  matching: Matching;
  onDone: () => void;
}): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const [asked, setAsked] = useState<Matching>();
  const [answer, setAnswer] = useState<{ matched: number; changed?: number } | Error>();
  const [isActing, setActing] = useState(false);
  const isOpen = asked !== undefined;
  useEffect(() => {
    if (isOpen) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isOpen]);
  const send = async (dryRun: boolean, which: Matching): Promise<void> => {
    setActing(true);
    try {
      const { matched, changed } = await actOnAll(action, which, dryRun);
      setAnswer(dryRun ? { matched } : { matched, changed });
    } catch (error) {
      setAnswer(error as Error);
    }
    setActing(false);
    if (!dryRun) onDone();
  };
  const open = (): void => {
    setAnswer(undefined);
    // The action changes the rows that are counted now: the list as it is shown.
    setAsked(matching);
    void send(true, matching);
  };
  const close = (): void => setAsked(undefined);
  const { question = '', danger } = ACTIONS[action] ?? {};
  const id = `dialog-all-${action}`;
  const isCounted = answer !== undefined && 'matched' in answer && answer.changed === undefined;
  return (
    <>
      <button type="button" class={danger ? 'danger' : ''} onClick={open}>
        {label}
      </button>
      <dialog ref={dialog} aria-labelledby={id} onClose={close}>
        {isOpen && (
          <>
            <h2 id={id}>{label}</h2>
            {answer === undefined ? (
              <p>Counting…</p>
            ) : answer instanceof Error ? (
              <p class="bad">{answer.message}</p>
            ) : answer.changed === undefined ? (
              <p>
                {countOf(answer.matched)} {noun} match. {question}
              </p>
            ) : (
              <p>
                {answer.changed.toLocaleString('en')} of {answer.matched.toLocaleString('en')}{' '}
                {noun} done.
              </p>
            )}
            <p class="buttons">
              {isCounted && (
                <button
                  type="button"
                  class={danger ? 'danger primary' : 'primary'}
                  disabled={isActing || answer.matched === 0}
                  onClick={() =>
                    void send(
                      false,
                      answer.matched > COUNTED ? asked : { ...asked, limit: answer.matched },
                    )
                  }
                >
                  {ACTIONS[action]?.label}{' '}
                  {answer.matched > COUNTED ? 'all' : answer.matched.toLocaleString('en')} {noun}
                </button>
              )}
              <button type="button" onClick={close}>
                {isCounted ? 'Leave them' : 'Close'}
              </button>
            </p>
          </>
        )}
      </dialog>
    </>
  );
}
