import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Starts a program of `processes/`. These programs are plain JavaScript, so that Node has nothing to compile. */
export function startProcess(
  file: string,
  env: Record<string, string>,
  nodeOptions: readonly string[] = [],
): ChildProcess {
  const path = fileURLToPath(new URL(`../processes/${file}`, import.meta.url));
  return fork(path, { env: { ...process.env, ...env }, execArgv: ['--expose-gc', ...nodeOptions] });
}

/** The next message of a process. */
export function answerOf<T>(child: ChildProcess, file: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const fail = (code: number | null): void =>
      reject(new Error(`${file} ended with code ${code} before it had answered.`));
    child.once('exit', fail);
    child.once('message', (message) => {
      child.off('exit', fail);
      resolve(message as T);
    });
  });
}

/** Waits until a process has ended by itself. */
export async function endOf(child: ChildProcess): Promise<void> {
  if (child.exitCode === null) await new Promise((resolve) => child.once('exit', resolve));
}

/** Runs a process that sends one message, and returns the message. */
export async function runProcess<T>(file: string, env: Record<string, string>): Promise<T> {
  const child = startProcess(file, env);
  const answer = await answerOf<T>(child, file);
  await endOf(child);
  return answer;
}
