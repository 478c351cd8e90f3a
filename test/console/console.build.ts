import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from '../consumer/consumer.project.js';

export const ASSETS = join(REPOSITORY, 'dist/console/assets');

/** Builds the pages of the console, if nothing has yet. */
export function buildPages(): void {
  if (existsSync(join(ASSETS, 'console.css'))) return;
  execFileSync('node', ['scripts/console.mjs'], { cwd: REPOSITORY, stdio: 'pipe' });
}
